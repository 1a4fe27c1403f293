package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
)

// texts are the files that people read, from the top of the source.
var texts = []string{"README.md", "SECURITY.md", "RELEASE_NOTES.md", "LICENSE"}

// archive makes a .tar.gz with the programs and all that goes with them, for systems
// that have no package.
func (r release) archive() (string, error) {
	t, err := r.archiveTree()
	if err != nil {
		return "", err
	}
	data, err := r.pack(t, r.archiveName())
	if err != nil {
		return "", err
	}
	return r.put(r.archiveName()+".tar.gz", data)
}

func (r release) archiveTree() (tree, error) {
	t := tree{}
	modules, err := r.modules()
	if err != nil {
		return nil, err
	}
	terms, err := licences(modules)
	if err != nil {
		return nil, err
	}
	list, err := r.sbom()
	if err != nil {
		return nil, err
	}
	t["LICENSES-of-modules"] = file{terms, 0o644}
	t["sbom.cdx.json"] = file{list, 0o644}
	for _, name := range texts {
		if err := t.copy(r.Root, name, name); err != nil {
			return nil, err
		}
	}
	if err := t.copyAll(r.Root, "contrib", "contrib", "debian"); err != nil {
		return nil, err
	}
	if err := r.addManuals(t, "man"); err != nil {
		return nil, err
	}
	if err := r.addCompletions(t, inArchive); err != nil {
		return nil, err
	}
	return t, r.addPrograms(t, "bin")
}

// pack makes a .tar.gz of a tree, all of it below one directory.
func (r release) pack(t tree, top string) ([]byte, error) {
	var b bytes.Buffer
	zip, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(zip)
	for _, dir := range append([]string{""}, t.dirs()...) {
		if err := w.WriteHeader(r.header(top+"/"+dir, tar.TypeDir, 0o755, 0)); err != nil {
			return nil, err
		}
	}
	for _, name := range t.names() {
		f := t[name]
		if err := w.WriteHeader(r.header(top+"/"+name, tar.TypeReg, int64(f.mode), len(f.data))); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (r release) header(name string, kind byte, mode int64, size int) *tar.Header {
	return &tar.Header{
		Name: name, Typeflag: kind, Mode: mode, Size: int64(size), ModTime: r.time(),
		Uname: "root", Gname: "root", Format: tar.FormatUSTAR,
	}
}
