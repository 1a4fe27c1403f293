package release

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// bom is what the tests look at in the list.
type bom struct {
	BOMFormat, SpecVersion string
	Components             []struct {
		Ref           string `json:"bom-ref"`
		Name, Version string
		Type, PURL    string
		Licenses      []struct{ License struct{ ID string } }
		Hashes        []struct{ Alg, Content string }
	}
	Dependencies []struct {
		Ref       string
		DependsOn []string
	}
}

// standard is what Go's own packages are called in the list.
const standard = "std"

// unpacked unpacks the archive and reads the list in it.
func unpacked(t *testing.T) (dir string, list bom) {
	t.Helper()
	dir = t.TempDir()
	tool(t, "tar", "-xzf", firstRelease(t).archive, "-C", dir, "--strip-components=1")
	data, err := os.ReadFile(filepath.Join(dir, "sbom.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	return dir, list
}

// Every module that Go says is linked into a program is in the list, with its
// version, its checksum and its licence, and the list says that the program needs it.
func TestSBOMIsComplete(t *testing.T) {
	dir, list := unpacked(t)
	known := map[string]int{}
	for i, c := range list.Components {
		known[c.Name+"@"+c.Version] = i
	}
	needs := map[string]string{}
	for _, d := range list.Dependencies {
		needs[d.Ref] = strings.Join(d.DependsOn, "\n") + "\n"
	}
	seen := map[string]bool{}
	all, err := os.ReadDir(filepath.Join(dir, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range all {
		program := entry.Name()
		for line := range strings.Lines(tool(t, "go", "version", "-m", filepath.Join(dir, "bin", program))) {
			f := strings.Fields(line)
			name := ""
			switch {
			case f[0] == "dep":
				name = f[1] + "@" + f[2]
			case strings.HasSuffix(f[0], "/"+program+":"):
				name = standard + "@" + f[1]
			default:
				continue
			}
			seen[name] = true
			i, ok := known[name]
			if !ok {
				t.Errorf("%s has %s, which the list has not", program, name)
				continue
			}
			c := list.Components[i]
			if !strings.Contains(needs[program], c.Ref+"\n") {
				t.Errorf("the list does not say that %s needs %s", program, name)
			}
			if len(c.Licenses) != 1 || c.Licenses[0].License.ID == "" {
				t.Errorf("%s has no licence in the list", name)
			}
			if f[0] == "dep" && (len(c.Hashes) != 1 || len(c.Hashes[0].Content) != 64) {
				t.Errorf("%s has no checksum in the list", name)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("go version -m names %d modules only", len(seen))
	}
	for _, c := range list.Components {
		if c.Type == "library" && !seen[c.Name+"@"+c.Version] {
			t.Errorf("the list has %s, which is in no program", c.Name)
		}
	}
}

// validate reads a schema, those it refers to, and a document, and says what is wrong.
const validate = `
import json, sys, jsonschema
schemas = {}
for name in sys.argv[2:]:
    with open(name) as f:
        schema = json.load(f)
    schemas[schema["$id"]] = schema
main = json.load(open(sys.argv[2]))
document = json.load(open(sys.argv[1]))
resolver = jsonschema.RefResolver.from_schema(main, store=schemas)
checker = jsonschema.FormatChecker()
wrong = list(jsonschema.Draft7Validator(main, resolver=resolver, format_checker=checker).iter_errors(document))
for error in wrong:
    print(list(error.absolute_path), error.message[:300])
sys.exit(bool(wrong))
`

// The list is what the schema of CycloneDX says, which comes with the module that
// writes it.
func TestSBOMIsValid(t *testing.T) {
	dir, list := unpacked(t)
	if list.BOMFormat != "CycloneDX" || list.SpecVersion != "1.6" {
		t.Errorf("the list is %s %s", list.BOMFormat, list.SpecVersion)
	}
	wantSchema(t, filepath.Join(dir, "sbom.cdx.json"))
}

func wantSchema(t *testing.T, file string) {
	t.Helper()
	module := strings.TrimSpace(tool(t, "go", "list", "-modfile=../../../.ci/go.mod", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go"))
	args := []string{"-c", validate, file}
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schemax.json"} {
		args = append(args, filepath.Join(module, "schema", name))
	}
	if out, err := exec.Command("python3", args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The terms of every module are in the package and in the archive: most want that.
func TestLicences(t *testing.T) {
	dir, list := unpacked(t)
	terms, err := os.ReadFile(filepath.Join(dir, "LICENSES-of-modules"))
	if err != nil {
		t.Fatal(err)
	}
	copyright := tool(t, "sh", "-c", `dpkg-deb --fsys-tarfile "$0" | tar -xO ./usr/share/doc/postseal/copyright`, firstRelease(t).deb)
	for _, c := range list.Components {
		if c.Type != "library" || c.Name == standard {
			continue
		}
		if !strings.Contains(string(terms), "\n"+c.Name+" "+c.Version+" (") {
			t.Errorf("the archive lacks the terms of %s", c.Name)
		}
		if !strings.Contains(copyright, "\nFiles: "+c.Name+"/*\n") {
			t.Errorf("the package lacks the terms of %s", c.Name)
		}
	}
}
