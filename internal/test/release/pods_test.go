//go:build packages

package release

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/test/redistest"
)

// node is what a kubelet does for the pods of contrib/containers/kubernetes, as far as it
// matters to them: files of objects, of the group that fsGroup names, and a volume.
type node struct {
	*testing.T
	dir     string
	objects []object
}

// kept returns where the files of a volume are.
func (n *node) kept(v volume) string {
	return filepath.Join(n.dir, cmp.Or(v.ConfigMap.Name, v.Secret.SecretName, v.PersistentVolumeClaim.ClaimName)+kindOf(v))
}

func kindOf(v volume) string {
	switch {
	case v.ConfigMap.Name != "":
		return ".configmap"
	case v.Secret.SecretName != "":
		return ".secret"
	}
	return ".volume"
}

// pod returns the pod of an object.
func (n *node) pod(name string) podSpec {
	n.Helper()
	for _, o := range n.objects {
		if o.Metadata.Name == name && o.Kind == "CronJob" {
			return o.Spec.JobTemplate.Spec.Template.Spec
		}
		if o.Metadata.Name == name && o.Kind == "Deployment" {
			return o.Spec.Template.Spec
		}
	}
	n.Fatalf("there is no pod of %s", name)
	return podSpec{}
}

// flags returns what podman is told of the container of ours in a pod.
func (n *node) flags(pod podSpec) (container, []string) {
	n.Helper()
	i := slices.IndexFunc(pod.Containers, func(c container) bool { return strings.HasPrefix(c.Image, "postseal") })
	c := pod.Containers[i]
	user, group := cmp.Or(c.SecurityContext.RunAsUser, pod.SecurityContext.RunAsUser), cmp.Or(c.SecurityContext.RunAsGroup, pod.SecurityContext.RunAsGroup)
	args := []string{"--network", "host", "--user", fmt.Sprintf("%d:%d", user, group), "--read-only", "--read-only-tmpfs=false",
		"--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", strings.TrimSuffix(c.Resources.Limits.Memory, "Mi") + "m"}
	for _, m := range c.VolumeMounts {
		v := pod.Volumes[slices.IndexFunc(pod.Volumes, func(v volume) bool { return v.Name == m.Name })]
		mount := filepath.Join(n.kept(v), m.SubPath) + ":" + m.MountPath
		if m.ReadOnly {
			mount += ":ro"
		}
		args = append(args, "-v", mount)
	}
	return c, args
}

// fill makes the files of all objects, and of the secrets that the page makes.
func (n *node) fill(w world, redis string) {
	n.Helper()
	for _, o := range n.objects {
		for name, text := range o.Data {
			text = w.adapt(text, "redis:6379", redis)
			if strings.Contains(text, "listen =") {
				text = "resolver = \"" + w.ca.DNSAddr + "\"\n" + text
			}
			put(n.T, filepath.Join(n.dir, o.Metadata.Name+".configmap", name), text, 0o644)
		}
	}
	put(n.T, filepath.Join(n.dir, "postseal-mailboxes.configmap/addresses"), mailboxes, 0o644)
	w.secret(n.T, filepath.Join(n.dir, "postseal-milter.secret/redis.mail"), "mail-password\n")
	w.secret(n.T, filepath.Join(n.dir, "postseal-milter.secret/dkim.pem"), w.signingKey(n.T))
	w.secret(n.T, filepath.Join(n.dir, "postseal.secret/redis.issuer"), "issuer-password\n")
	state := filepath.Join(n.dir, "postseal.volume")
	for _, err := range []error{os.Mkdir(state, 0o755), os.Chown(state, 0, 8823), os.Chmod(state, os.ModeSetgid|0o775)} {
		if err != nil {
			n.Fatal(err)
		}
	}
}

// The two halves, in pods that have nothing in common but a Redis, get certificates: the
// mailboxes that are enrolled. The jobs end with 0 when there is nothing to do.
func TestPods(t *testing.T) {
	users, err := filepath.Abs("../../../contrib/redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	e, w := loaded(t), startWorld(t)
	n := &node{t, t.TempDir(), manifests(t)}
	n.fill(w, redistest.WithPort(t, "aclfile "+users).Addr())

	milter, flags := n.flags(n.pod("mail"))
	e.start("pod-milter", flags, milter.Image+":"+testVersion)
	mta.WaitFor(t, "the liveness probe to succeed", func() bool {
		status, _ := e.podman(append([]string{"exec", "pod-milter"}, milter.LivenessProbe.Exec.Command...)...)
		return status == 0
	})
	job := func(name string, args ...string) {
		t.Helper()
		c, flags := n.flags(n.pod(name))
		out := e.must(slices.Concat([]string{"run", "--rm"}, w.rootMount(), flags, []string{c.Image + ":" + testVersion}, c.Args, args)...)
		t.Logf("%s: %s", name, out)
	}
	job("postseal-enroll", append(w.atCA(), "--timeout", "60s")...)
	w.wantGoodReplies(t, 2)
	job("postseal-enroll", w.atCA()...)
	job("postseal-renew", "--jitter", "0s")
	for _, name := range []string{"alice", "bob"} {
		if _, err := os.Stat(filepath.Join(n.dir, "postseal.volume/certs", name+"@example.test/cert.p12")); err != nil {
			t.Error(err)
		}
	}
}
