package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// sbomFile writes the list of what is in the programs as a file of its own.
func (r release) sbomFile() (string, error) {
	data, err := r.sbom()
	if err != nil {
		return "", err
	}
	return r.put(r.archiveName()+".cdx.json", data)
}

// sbom lists, as CycloneDX 1.6 in JSON, the programs, the modules that are linked
// into them, their licences, and who needs whom.
func (r release) sbom() ([]byte, error) {
	modules, err := r.modules()
	if err != nil {
		return nil, err
	}
	bom := cdx.NewBOM()
	bom.Metadata = r.about()
	var components []cdx.Component
	var needs []cdx.Dependency
	for _, program := range programs {
		components = append(components, cdx.Component{
			BOMRef: program, Type: cdx.ComponentTypeApplication, Name: program, Version: r.Version,
		})
		needs = append(needs, cdx.Dependency{Ref: program, Dependencies: linked(modules, program)})
	}
	for _, m := range modules {
		component, err := m.component()
		if err != nil {
			return nil, err
		}
		components = append(components, component)
		needs = append(needs, cdx.Dependency{Ref: m.purl(), Dependencies: m.needs(modules)})
	}
	needs = append(needs, cdx.Dependency{Ref: whole, Dependencies: new(slices.Clone(programs))})
	bom.Components, bom.Dependencies = &components, &needs
	var b bytes.Buffer
	encoder := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false)
	if err := encoder.EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// whole is the reference of all the programs together.
const whole = "release"

// about says what the list is about. It has no serial number, because it has to be
// the same each time.
func (r release) about() *cdx.Metadata {
	return &cdx.Metadata{
		Timestamp: r.time().Format(time.RFC3339),
		Component: &cdx.Component{
			BOMRef: whole, Type: cdx.ComponentTypeApplication, Name: "postseal", Version: r.Version,
			Licenses: &cdx.Licenses{{License: &cdx.License{ID: "MIT"}}},
		},
		Properties: &[]cdx.Property{{Name: "postseal:os", Value: r.OS}, {Name: "postseal:arch", Value: r.Arch}},
	}
}

// component describes a module.
func (m module) component() (cdx.Component, error) {
	id, _, err := m.licence()
	if err != nil {
		return cdx.Component{}, err
	}
	c := cdx.Component{
		BOMRef: m.purl(), Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: m.purl(),
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: id}}},
	}
	if m.Sum != "" {
		sum, err := sha256Of(m.Sum)
		if err != nil {
			return cdx.Component{}, fmt.Errorf("%s: %w", m.Path, err)
		}
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}}
	}
	return c, nil
}

// sha256Of returns the SHA-256 in a line of go.sum.
func sha256Of(sum string) (string, error) {
	digest, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:"))
	if err != nil || !strings.HasPrefix(sum, "h1:") {
		return "", fmt.Errorf("checksum %q is of no known kind", sum)
	}
	return hex.EncodeToString(digest), nil
}

// purl is the package URL of a module.
func (m module) purl() string {
	return "pkg:golang/" + (&url.URL{Path: m.Path}).EscapedPath() + "@" + url.QueryEscape(m.Version)
}

func (m module) needs(all []module) *[]string {
	var refs []string
	for _, other := range all {
		if slices.Contains(m.Needs, other.Path) {
			refs = append(refs, other.purl())
		}
	}
	return &refs
}

// linked returns the references of the modules that are in a program.
func linked(all []module, program string) *[]string {
	var refs []string
	for _, m := range all {
		if slices.Contains(m.Programs, program) {
			refs = append(refs, m.purl())
		}
	}
	return &refs
}

// archiveName is the name of what is for one system, without its ending.
func (r release) archiveName() string {
	return strings.Join([]string{"postseal", r.Version, r.OS, r.Arch}, "_")
}

// put writes a file of the release and brings the checksums up to date.
func (r release) put(name string, data []byte) (string, error) {
	full := filepath.Join(r.Out, name)
	if err := writeFile(full, data); err != nil {
		return "", err
	}
	return full, writeSums(r.Out)
}
