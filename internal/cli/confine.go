package cli

import (
	"os"
	"path/filepath"
	"slices"
)

// Needs lists what a program keeps using.
type Needs struct {
	Read    []string // files and directories to read
	Write   []string // directories in which it reads, makes, replaces and removes files
	Remove  []string // directories in which it only removes files
	Lasting bool     // the program outlives the files that it reads
}

// system is what the program needs to resolve names, check certificates and write times. The
// libraries are for builds with cgo, whose resolver loads plug-ins.
var system = []string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf",
	"/etc/services", "/etc/mdns.allow", "/etc/localtime", "/etc/ld.so.cache",
	"/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
	"/usr/share/zoneinfo", "/usr/lib", "/lib", "/lib64",
}

// reads returns what may be read, each once: directories and, in a short-lived program,
// files.
func (n Needs) reads() (dirs, files []string) {
	all := slices.Concat(system, n.Read)
	for _, env := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		all = append(all, filepath.SplitList(os.Getenv(env))...)
	}
	for _, path := range all {
		d, f := n.rule(path)
		dirs, files = append(dirs, d...), append(files, f...)
	}
	return unique(dirs), unique(files)
}

// rule returns the rule for one path.
func (n Needs) rule(path string) (dirs, files []string) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return []string{path}, nil
	case !n.Lasting && err == nil:
		return nil, []string{path}
	case !n.Lasting:
		return nil, nil
	}
	dirs = append(dirs, Nearest(filepath.Dir(path)))
	if real, err := filepath.EvalSymlinks(path); err == nil {
		dirs = append(dirs, filepath.Dir(real))
	}
	return dirs, nil
}

func unique(paths []string) []string {
	slices.Sort(paths)
	return slices.Compact(paths)
}

// Nearest returns path if it is an existing directory, or else the nearest one above.
func Nearest(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	for {
		info, err := os.Stat(path)
		if parent := filepath.Dir(path); (err != nil || !info.IsDir()) && parent != path {
			path = parent
			continue
		}
		return path
	}
}

func nearest(paths []string) []string {
	found := make([]string, len(paths))
	for i, path := range paths {
		found[i] = Nearest(path)
	}
	return unique(found)
}
