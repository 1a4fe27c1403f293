// Command release makes what is given to others: the Debian package, archives for
// other systems, and the list of what is in them (SBOM).
//
//	go run ./internal/release [-out DIR] [-os OS] [-arch ARCH] deb|archive|sbom...
//	go run ./internal/release [-out DIR] version
//
// The same source gives the same bytes, whatever the directory, the user, the umask
// and the time: versions and times come from the commit, or from VERSION and
// SOURCE_DATE_EPOCH where there is none. What is made stands in DIR (default dist),
// with its checksums in SHA256SUMS.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release: error:", err)
		os.Exit(1)
	}
}

// release is one version for one system.
type release struct {
	Root    string // top of the source tree
	Out     string // where files are put
	Version string // as Debian orders them: 1.2.3, or 0~git20261122175730.0123456789ab
	Epoch   int64  // of every file, in seconds of Unix time
	OS      string // as Go calls it
	Arch    string
}

// makers are the words of the command line.
var makers = map[string]func(release) (name string, err error){
	"deb":     release.deb,
	"archive": release.archive,
	"sbom":    release.sbomFile,
}

func run(args []string) error {
	var r release
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&r.Out, "out", "dist", "directory for what is made")
	flags.StringVar(&r.OS, "os", "linux", "system, as Go calls it")
	flags.StringVar(&r.Arch, "arch", runtime.GOARCH, "processor, as Go calls it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := r.identify(); err != nil {
		return err
	}
	for _, word := range flags.Args() {
		if word == "version" {
			fmt.Println(r.Version)
			continue
		}
		maker := makers[word]
		if maker == nil {
			return fmt.Errorf("%q is not deb, archive, sbom or version", word)
		}
		name, err := maker(r)
		if err != nil {
			return fmt.Errorf("%s for %s/%s: %w", word, r.OS, r.Arch, err)
		}
		fmt.Println(name)
	}
	return nil
}
