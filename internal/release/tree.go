package main

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is a file of a release. Its owner is root and its time the release's.
type file struct {
	data []byte
	mode fs.FileMode // 0644 or 0755
}

// tree are the files of a release by their path, which does not begin with a slash.
type tree map[string]file

// names returns the paths in order.
func (t tree) names() []string { return slices.Sorted(maps.Keys(t)) }

// dirs returns the directories, each before those in it.
func (t tree) dirs() []string {
	all := map[string]bool{}
	for name := range t {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			all[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// copy takes a file of the source. Only whether it can be run is kept of its mode,
// the rest is the umask of whoever fetched the source.
func (t tree) copy(root, from, to string) error {
	name := filepath.Join(root, from)
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	t[to] = file{data, 0o644}
	if info.Mode()&0o100 != 0 {
		t[to] = file{data, 0o755}
	}
	return nil
}

// copyAll takes a directory of the source, without hidden files, Go and those of skip.
func (t tree) copyAll(root, from, to string, skip ...string) error {
	return filepath.WalkDir(filepath.Join(root, from), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(filepath.Join(root, from), name)
		switch {
		case err != nil:
			return err
		case rel != "." && strings.HasPrefix(d.Name(), "."), slices.Contains(skip, rel):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir(), strings.HasSuffix(rel, ".go"):
			return nil
		}
		return t.copy(root, filepath.Join(from, rel), path.Join(to, filepath.ToSlash(rel)))
	})
}

// compress replaces a file by its gzip, which has neither a name nor a time.
func (t tree) compress(name string) error {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(t[name].data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	t[name+".gz"] = file{b.Bytes(), t[name].mode}
	delete(t, name)
	return nil
}

// write puts the files into a directory, with the modes and times they shall have.
func (t tree) write(dir string, when time.Time) error {
	for _, name := range t.dirs() {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	for name, f := range t {
		full := filepath.Join(dir, name)
		if err := os.WriteFile(full, f.data, f.mode); err != nil {
			return err
		}
		if err := finish(full, f.mode, when); err != nil {
			return err
		}
	}
	for _, name := range append(t.dirs(), ".") { // now that nothing is written in them
		if err := finish(filepath.Join(dir, name), 0o755, when); err != nil {
			return err
		}
	}
	return nil
}

// finish sets what the umask and the clock have set otherwise.
func finish(name string, mode fs.FileMode, when time.Time) error {
	if err := os.Chmod(name, mode); err != nil {
		return err
	}
	return os.Chtimes(name, when, when)
}
