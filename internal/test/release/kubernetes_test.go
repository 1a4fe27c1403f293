package release

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postseal/internal/cli"
	"postseal/internal/test/mta"
)

const containers = "../../../contrib/containers"

// object is a Kubernetes object, as far as the tests look.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Template    podTemplate
		JobTemplate struct {
			Spec struct{ Template podTemplate }
		}
	}
}

type podTemplate struct{ Spec podSpec }

type podSpec struct {
	SecurityContext security
	Containers      []container
	Volumes         []volume
}

type container struct {
	Name, Image     string
	Args            []string
	SecurityContext security
	Resources       struct{ Limits struct{ Memory string } }
	LivenessProbe   struct{ Exec struct{ Command []string } }
	VolumeMounts    []struct {
		Name, MountPath, SubPath string
		ReadOnly                 bool
	}
}

type volume struct {
	Name                  string
	ConfigMap             struct{ Name string }
	Secret                struct{ SecretName string }
	PersistentVolumeClaim struct{ ClaimName string }
}

type security struct {
	RunAsNonRoot, ReadOnlyRootFilesystem *bool
	AllowPrivilegeEscalation             *bool
	RunAsUser, RunAsGroup                int
	Capabilities                         struct{ Drop []string }
}

// manifests returns the objects of contrib/containers/kubernetes. What reads them is the
// code of Kubernetes, and takes no key that it does not know.
func manifests(t *testing.T) []object {
	t.Helper()
	mta.NotShort(t)
	dir, err := filepath.Abs(filepath.Join(containers, "kubernetes"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(dir + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return filepath.Base(name) == "kustomization.yaml" })
	cmd := exec.Command("go", append([]string{"run", "./manifests", "kubernetes"}, files...)...)
	cmd.Dir, cmd.Stderr = "../../../.ci", os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []object
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	kustomization, err := os.ReadFile(dir + "/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if !strings.Contains(string(kustomization), "\n  - "+filepath.Base(name)+"\n") {
			t.Errorf("kustomization.yaml lacks %s", name)
		}
	}
	return all
}

// The manifests name only what there is: objects, files of secrets and configurations
// that the programs read, and flags.
func TestManifests(t *testing.T) {
	all := manifests(t)
	bin := mta.Build(t, "postseal", "postseal-milter")
	ours := 0
	for _, o := range all {
		for name, text := range o.Data {
			file := filepath.Join(t.TempDir(), name)
			put(t, file, text, 0o600)
			if _, err := cli.ReadFile(file); err != nil {
				t.Errorf("%s %s: %v", o.Kind, o.Metadata.Name, err)
			}
		}
		for _, pod := range []podSpec{o.Spec.Template.Spec, o.Spec.JobTemplate.Spec.Template.Spec} {
			wantVolumes(t, all, o.Metadata.Name, pod)
			for _, c := range pod.Containers {
				if !strings.HasPrefix(c.Image, "postseal") {
					continue
				}
				ours++
				wantConfined(t, o.Metadata.Name, c.Image, pod.SecurityContext, c.SecurityContext)
				if len(c.Args) > 0 {
					tool(t, filepath.Join(bin, c.Image), append(c.Args, "--help")...)
				}
			}
		}
	}
	if ours != 3 {
		t.Errorf("%d containers of ours", ours)
	}
}

// wantVolumes wants each mount to be of a volume, and each volume of an object here, or of
// one that the page has made first.
func wantVolumes(t *testing.T, all []object, where string, pod podSpec) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(containers, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		kind, name := "ConfigMap", v.ConfigMap.Name
		if v.Secret.SecretName != "" {
			kind, name = "secret generic", v.Secret.SecretName
		}
		if v.PersistentVolumeClaim.ClaimName != "" {
			kind, name = "PersistentVolumeClaim", v.PersistentVolumeClaim.ClaimName
		}
		here := slices.ContainsFunc(all, func(o object) bool { return o.Kind == kind && o.Metadata.Name == name })
		if !here && !strings.Contains(string(page), "create "+strings.ToLower(kind)+" "+name+" ") {
			t.Errorf("%s: nobody makes the %s %s", where, kind, name)
		}
	}
	for _, c := range pod.Containers {
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: there is no volume %s", where, m.Name)
			}
		}
	}
}

// wantConfined wants a container to have the user of its image, and no rights.
func wantConfined(t *testing.T, where, image string, pod, c security) {
	t.Helper()
	user, group := pod.RunAsUser, pod.RunAsGroup
	if c.RunAsUser != 0 {
		user, group = c.RunAsUser, c.RunAsGroup
	}
	if want := map[string]int{"postseal": 8824, "postseal-milter": 8823}[image]; user != want || group != 8823 {
		t.Errorf("%s: user %d:%d, want %d:8823", where, user, group, want)
	}
	yes := func(b *bool) bool { return b != nil && *b }
	if !yes(pod.RunAsNonRoot) && !yes(c.RunAsNonRoot) || !yes(c.ReadOnlyRootFilesystem) ||
		c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation || !slices.Equal(c.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("%s: %+v", where, c)
	}
}

func put(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
