// Command image packs programs that .ci/release has compiled as OCI images, one for each
// half of postseal, and each for several processors:
//
//	image BUILT TEXTS OUT
//
// BUILT/ARCH has the programs and their SBOMs, TEXTS the licences; OUT gets an image layout
// for each half. VERSION and SOURCE_DATE_EPOCH are in the environment. The same input gives
// the same bytes.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const typeSBOM = "application/vnd.cyclonedx+json"

// half is what differs between the images. Each has the programs of its half and no
// other: what reads foreign mail and what has keys are not in one image.
type half struct {
	name, title string
	programs    []string // the first is what the image runs
	user        int
	health      *v1.HealthConfig // Docker's: other runtimes, and Kubernetes, are told elsewhere
}

var halves = []half{
	{
		name: "postseal", title: "S/MIME certificates over ACME (RFC 8823): the half that orders them",
		programs: []string{"/usr/bin/postseal", "/usr/libexec/postseal/postseal-check"}, user: issuerUser,
	},
	{
		name: "postseal-milter", title: "S/MIME certificates over ACME (RFC 8823): the half that answers challenges",
		programs: []string{"/usr/bin/postseal-milter", "/usr/bin/postseal-pipe"}, user: mailUser,
		health: &v1.HealthConfig{
			Test: []string{"CMD", "/usr/bin/postseal-milter", "--probe"}, Interval: 30 * time.Second, Timeout: 10 * time.Second, Retries: 3,
		},
	},
}

// check and must end the program at an error: .ci/release removes what it leaves.
func check(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func main() {
	if len(os.Args) != 4 {
		check(fmt.Errorf("usage: image BUILT TEXTS OUT"))
	}
	built, texts, out := os.Args[1], os.Args[2], os.Args[3]
	version := os.Getenv("VERSION")
	created := v1.Time{Time: time.Unix(must(strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)), 0).UTC()}
	for _, h := range halves {
		about := map[string]string{
			"org.opencontainers.image.title":       h.name,
			"org.opencontainers.image.description": h.title,
			"org.opencontainers.image.version":     version,
			"org.opencontainers.image.created":     created.Format(time.RFC3339),
			"org.opencontainers.image.licenses":    "MIT",
		}
		index := mutate.Annotations(empty.Index, about).(v1.ImageIndex)
		for _, arch := range must(os.ReadDir(built)) {
			index = h.add(index, arch.Name(), filepath.Join(built, arch.Name()), texts, about, created)
		}
		tag := strings.NewReplacer("+", "-", "~", "-").Replace(version) // of + and ~ a registry knows nothing
		must(layout.Write(filepath.Join(out, h.name), mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
			Add: index, Descriptor: v1.Descriptor{Annotations: map[string]string{"org.opencontainers.image.ref.name": h.name + ":" + tag}},
		})))
		fmt.Println(h.name, must(index.Digest()))
	}
}

// add adds the image for one processor, and its SBOM as an artifact that refers to it.
// Both are in the index of the image, so whoever copies all of that copies the SBOM too;
// registries list it as a referrer. Its platform keeps it from being run.
func (h half) add(index v1.ImageIndex, arch, built, texts string, about map[string]string, created v1.Time) v1.ImageIndex {
	sbom := must(os.ReadFile(filepath.Join(built, h.name+".cdx.json")))
	image := must(mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: arch, Created: created, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User: fmt.Sprintf("%d:%d", h.user, mailUser), Env: []string{"PATH=/usr/bin"},
			Entrypoint: h.programs[:1], WorkingDir: "/", Labels: about, Healthcheck: h.health,
		},
	}))
	image = mutate.ConfigMediaType(mutate.MediaType(image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image = must(mutate.Append(image, mutate.Addendum{
		Layer: layer(h.files(built, texts, sbom), created.Time), History: v1.History{Created: created, CreatedBy: "make image"},
	}))
	image = runnable{mutate.Annotations(image, about).(v1.Image)}
	attached := must(mutate.AppendLayers(artifact{empty.Image}, static.NewLayer(sbom, typeSBOM)))
	attached = mutate.Subject(attached, *must(partial.Descriptor(image))).(v1.Image)
	return mutate.AppendManifests(index,
		mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}},
		mutate.IndexAddendum{Add: attached, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}})
}

// runnable keeps mutate from naming an image as an artifact in the index.
type runnable struct{ v1.Image }

func (runnable) ArtifactType() (string, error) { return "", nil }

// artifact is the empty artifact, with OCI's empty config: empty has only an image and an
// index.
type artifact struct{ v1.Image }

func (artifact) RawConfigFile() ([]byte, error) { return []byte("{}"), nil }

func (artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func (artifact) Manifest() (*v1.Manifest, error) {
	config := must(partial.Descriptor(static.NewLayer([]byte("{}"), types.OCIEmptyJSON)))
	return &v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: typeSBOM, Config: *config}, nil
}
