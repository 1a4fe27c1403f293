package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// file is a file or a directory of an image.
type file struct {
	path     string
	mode     int64
	uid, gid int
	dir      bool
	data     []byte
}

// tree is what an image has, the first error included.
type tree struct {
	files []file
	err   error
}

func (t *tree) dir(path string, mode int64, uid, gid int) {
	t.put(file{path: path, mode: mode, uid: uid, gid: gid, dir: true})
}

func (t *tree) text(path, text string) { t.put(file{path: path, mode: 0o644, data: []byte(text)}) }

func (t *tree) copy(path, from string, mode int64) {
	data, err := os.ReadFile(from)
	if t.err == nil {
		t.err = err
	}
	t.put(file{path: path, mode: mode, data: data})
}

// put adds a file and the directories above it, as far as they are not there.
func (t *tree) put(f file) {
	for dir := filepath.Dir(f.path); dir != "/"; dir = filepath.Dir(dir) {
		if !slices.ContainsFunc(t.files, func(o file) bool { return o.path == dir }) {
			t.files = append(t.files, file{path: dir, mode: 0o755, dir: true})
		}
	}
	t.files = append(t.files, f)
}

// archive packs files in the order of their paths, with nothing of the machine in it.
func archive(files []file, t time.Time) ([]byte, error) {
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.path, b.path) })
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{
			Name: strings.TrimPrefix(f.path, "/"), Mode: f.mode, Uid: f.uid, Gid: f.gid,
			ModTime: t, Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Size: int64(len(f.data)),
		}
		if f.dir {
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// roots returns Mozilla's roots, of the version that .ci/go.mod names, so that they do
// not depend on who makes the image. Those that Mozilla trusts with reservations, which a
// file of PEM cannot tell, are left out.
func roots() string {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // into memory
		}
	}
	return out.String()
}
