package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// imageNames are the images, one for each half.
var imageNames = [2]string{"postseal", "postseal-milter"}

// descriptor refers to a blob of an OCI layout, and has of a manifest and an index what
// the tests look at.
type descriptor struct {
	Digest       string
	ArtifactType string
	Platform     struct{ OS, Architecture string }
}

type manifest struct {
	Manifests []descriptor
	Config    descriptor
	Layers    []descriptor
	Subject   descriptor
}

// ociImage is an unpacked image: the files of its archive, and of the layer.
type ociImage struct {
	*testing.T
	name  string
	blobs map[string][]byte
	image descriptor
	sbom  manifest
	files map[string]*tar.Header
	data  map[string][]byte
}

// openImage reads an image and its SBOM as a registry would get them.
func openImage(t *testing.T, n int) *ociImage {
	t.Helper()
	data, err := os.ReadFile(firstRelease(t).images[n])
	if err != nil {
		t.Fatal(err)
	}
	i := &ociImage{T: t, name: imageNames[n]}
	_, i.blobs = untar(t, bytes.NewReader(data))
	var top, index manifest
	i.read("index.json", &top)
	i.read(blobOf(top.Manifests[0]), &index)
	for _, d := range index.Manifests {
		if d.ArtifactType == "" {
			i.image = d
		} else {
			i.read(blobOf(d), &i.sbom)
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(i.blobs[blobOf(i.manifest().Layers[0])]))
	if err != nil {
		t.Fatal(err)
	}
	i.files, i.data = untar(t, z)
	return i
}

func untar(t *testing.T, r io.Reader) (headers map[string]*tar.Header, data map[string][]byte) {
	t.Helper()
	headers, data = map[string]*tar.Header{}, map[string][]byte{}
	for a := tar.NewReader(r); ; {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			return headers, data
		}
		if err != nil {
			t.Fatal(err)
		}
		headers[h.Name] = h
		if data[h.Name], err = io.ReadAll(a); err != nil {
			t.Fatal(err)
		}
	}
}

func blobOf(d descriptor) string { return "blobs/" + strings.Replace(d.Digest, ":", "/", 1) }

func (i *ociImage) read(name string, v any) {
	i.Helper()
	if err := json.Unmarshal(i.blobs[name], v); err != nil {
		i.Fatalf("%s: %v", name, err)
	}
}

func (i *ociImage) manifest() (m manifest) {
	i.Helper()
	i.read(blobOf(i.image), &m)
	return m
}

// Each image has the programs of its half, roots, users, terms, and nothing else: no
// shell and no library, and nothing that its user could change but the state directory.
func TestImages(t *testing.T) {
	programs := [2][]string{
		{"usr/bin/postseal", "usr/libexec/postseal/postseal-check"},
		{"usr/bin/postseal-milter", "usr/bin/postseal-pipe"},
	}
	for n := range imageNames {
		t.Run(imageNames[n], func(t *testing.T) {
			i := openImage(t, n)
			i.wantFiles(programs[n])
			for _, name := range programs[n] {
				i.wantStatic(name)
			}
			i.wantConfig(programs[n][0])
			if pem := string(i.data["etc/ssl/certs/ca-certificates.crt"]); strings.Count(pem, "BEGIN CERTIFICATE") < 100 {
				t.Errorf("%d roots", strings.Count(pem, "BEGIN CERTIFICATE"))
			}
		})
	}
}

func (i *ociImage) wantFiles(programs []string) {
	i.Helper()
	want := append([]string{
		"etc/passwd", "etc/group", "etc/ssl/certs/ca-certificates.crt",
		"usr/share/doc/postseal/LICENSE", "usr/share/doc/postseal/LICENSES-of-modules", "usr/share/doc/postseal/sbom.cdx.json",
	}, programs...)
	for name, h := range i.files {
		switch {
		case h.Typeflag == tar.TypeReg && !slices.Contains(want, name):
			i.Errorf("%s does not belong there", name)
		case h.Typeflag == tar.TypeReg && (h.Uid != 0 || h.Mode&0o022 != 0):
			i.Errorf("%s: %o of %d", name, h.Mode, h.Uid)
		case h.Typeflag == tar.TypeDir && h.Uid != 0 && !strings.HasPrefix(name, "var/lib/postseal/") && name != "run/postseal/":
			i.Errorf("%s belongs to %d", name, h.Uid)
		}
	}
	for _, name := range want {
		if len(i.data[name]) == 0 {
			i.Errorf("%s is missing or empty", name)
		}
	}
}

func (i *ociImage) wantStatic(name string) {
	i.Helper()
	program, err := elf.NewFile(bytes.NewReader(i.data[name]))
	if err != nil {
		i.Fatalf("%s: %v", name, err)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			i.Errorf("%s wants libraries", name)
		}
	}
}

// wantConfig looks at what a runtime is told: a user by number, as runAsNonRoot of
// Kubernetes wants, and in the milter's image a health check.
func (i *ociImage) wantConfig(program string) {
	i.Helper()
	var c struct {
		OS, Architecture string
		Config           struct {
			User        string
			Entrypoint  []string
			Healthcheck struct{ Test []string }
		}
	}
	i.read(blobOf(i.manifest().Config), &c)
	users := map[string]string{"postseal": "8824:8823", "postseal-milter": "8823:8823"}
	if c.OS != "linux" || c.Architecture != runtime.GOARCH || c.Config.User != users[i.name] || c.Config.Entrypoint[0] != "/"+program {
		i.Errorf("%+v", c)
	}
	if probe := strings.Join(c.Config.Healthcheck.Test, " "); (probe == "CMD /usr/bin/postseal-milter --probe") != (i.name == "postseal-milter") {
		i.Errorf("the health check is %q", probe)
	}
}

// The list of what is in an image is in the image, and attached to it. It has what the
// programs of this half link, and the roots.
func TestImageSBOM(t *testing.T) {
	for n, name := range imageNames {
		i := openImage(t, n)
		if i.sbom.Subject.Digest != i.image.Digest {
			t.Errorf("%s: the list is attached to %s, the image is %s", name, i.sbom.Subject.Digest, i.image.Digest)
		}
		attached := i.blobs[blobOf(i.sbom.Layers[0])]
		if !bytes.Equal(attached, i.data["usr/share/doc/postseal/sbom.cdx.json"]) {
			t.Errorf("%s: the list that is attached is not the one in it", name)
		}
		file := filepath.Join(t.TempDir(), "sbom.json")
		if err := os.WriteFile(file, attached, 0o644); err != nil {
			t.Fatal(err)
		}
		wantSchema(t, file)
		var list bom
		if err := json.Unmarshal(attached, &list); err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for _, c := range list.Components {
			names[c.Name] = true
		}
		ours := n == 0 // who orders speaks ACME
		if !names[name] || !names["golang.org/x/crypto/x509roots/fallback"] || names["github.com/mholt/acmez/v3"] != ours {
			t.Errorf("%s: the list has %v", name, names)
		}
	}
}
