package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// module is a module that is linked into one of the programs.
type module struct {
	Path, Version string
	Sum           string // of go.sum; "" for Go itself
	Dir           string
	Needs         []string // paths of modules whose packages it imports
	Programs      []string // those it is linked into
}

// standard is what Go's own packages are called in lists of modules.
const standard = "std"

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Module     *struct {
		Path, Version, Dir, Sum string
		Main                    bool
	}
}

// owner returns the module that a package is of; "" is ours.
func (p goPackage) owner() string {
	switch {
	case p.Standard:
		return standard
	case p.Module.Main:
		return ""
	}
	return p.Module.Path
}

// modules returns what is linked into the programs on the release's system, in the
// order of their paths. Who imports whom is read from the packages, not from go.mod,
// so that what only a dependency's tests need is not in it.
func (r release) modules() ([]module, error) {
	if found, ok := linkedModules[r]; ok {
		return found, nil
	}
	found := map[string]*module{}
	for _, program := range programs {
		packages, err := r.packages("./cmd/" + program)
		if err != nil {
			return nil, err
		}
		for _, p := range packages {
			if err := r.note(found, p, packages, program); err != nil {
				return nil, err
			}
		}
	}
	var all []module
	for _, path := range slices.Sorted(maps.Keys(found)) {
		m := *found[path]
		slices.Sort(m.Needs)
		m.Needs = slices.Compact(m.Needs)
		all = append(all, m)
	}
	linkedModules[r] = all
	return all, nil
}

// linkedModules are the results of modules.
var linkedModules = map[release][]module{}

// note enters a package of a program.
func (r release) note(found map[string]*module, p goPackage, all map[string]goPackage, program string) error {
	path := p.owner()
	if path == "" {
		return nil
	}
	m := found[path]
	if m == nil {
		m = &module{Path: path}
		if path == standard {
			if err := r.describeGo(m); err != nil {
				return err
			}
		} else {
			m.Version, m.Dir, m.Sum = p.Module.Version, p.Module.Dir, p.Module.Sum
		}
		found[path] = m
	}
	if !slices.Contains(m.Programs, program) {
		m.Programs = append(m.Programs, program)
	}
	for _, name := range p.Imports {
		if needs := all[name].owner(); all[name].ImportPath != "" && needs != path {
			m.Needs = append(m.Needs, needs)
		}
	}
	return nil
}

// describeGo says where Go is and which one.
func (r release) describeGo(m *module) error {
	out, err := result(r.goCommand("env", "GOROOT", "GOVERSION"))
	if err != nil {
		return err
	}
	root, version, _ := strings.Cut(out, "\n")
	m.Dir, m.Version = root, strings.TrimPrefix(version, "go")
	return nil
}

// packages returns all packages that one is made of, by their import path.
func (r release) packages(path string) (map[string]goPackage, error) {
	out, err := result(r.goCommand("list", "-deps", "-json=ImportPath,Standard,Imports,Module", path))
	if err != nil {
		return nil, err
	}
	all := map[string]goPackage{}
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			return nil, err
		}
		all[p.ImportPath] = p
	}
	return all, nil
}

// licenceName is what modules call the files with their terms.
var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|patents)(\.txt|\.md)?$`)

// licence returns the terms of a module: the text of all its files of that kind, and
// which licence it is, as SPDX calls it.
func (m module) licence() (id, text string, err error) {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return "", "", err
	}
	for _, entry := range entries {
		if entry.IsDir() || !licenceName.MatchString(entry.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(m.Dir, entry.Name()))
		if err != nil {
			return "", "", err
		}
		if id == "" {
			id = licenceID(string(data))
		}
		text += strings.TrimSpace(strings.ReplaceAll(string(data), "\r\n", "\n")) + "\n\n"
	}
	if id == "" {
		return "", "", fmt.Errorf("%s: no licence that is known here; look at its terms and teach licenceID", m.Path)
	}
	return id, strings.TrimRight(text, "\n") + "\n", nil
}

// licenceID recognizes the licences that our modules have by words that only they
// have. One it does not know is for people to look at.
func licenceID(text string) string {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	switch {
	case strings.Contains(text, "apache license version 2.0"):
		return "Apache-2.0"
	case strings.Contains(text, "permission is hereby granted, free of charge, to any person"):
		return "MIT"
	case strings.Contains(text, "redistribution and use in source and binary forms") && strings.Contains(text, "endorse or promote"):
		return "BSD-3-Clause"
	case strings.Contains(text, "redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	}
	return ""
}
