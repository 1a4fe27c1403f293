// Command image packs programs that .ci/release has compiled as OCI images, one for each
// half of postseal, and each for several processors:
//
//	image BUILT TEXTS OUT
//
// BUILT/ARCH has the programs and their SBOMs, TEXTS the licences; OUT gets an archive for
// each image. VERSION and SOURCE_DATE_EPOCH are in the environment. The same input gives
// the same bytes.
package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// image is what differs between the halves. Each has the programs of its half and no
// other: what reads foreign mail and what has keys are not in one image.
type image struct {
	name, title string
	programs    []string // the first is what the image runs
	user        int
	probe       []string // the health check
}

// The numbers of users are those of the RFC: nobody else has them.
const (
	mailUser   = 8823 // the user postseal, and the group that both halves share
	issuerUser = 8824
)

var images = []image{
	{
		name: "postseal", title: "S/MIME certificates over ACME (RFC 8823): the half that orders them",
		programs: []string{"/usr/bin/postseal", "/usr/libexec/postseal/postseal-check"}, user: issuerUser,
	},
	{
		name: "postseal-milter", title: "S/MIME certificates over ACME (RFC 8823): the half that answers challenges",
		programs: []string{"/usr/bin/postseal-milter", "/usr/bin/postseal-pipe"}, user: mailUser,
		probe: []string{"/usr/bin/postseal-milter", "--probe"},
	},
}

// passwd gives no home: programs of a user who owns none use /var/lib/postseal.
const (
	passwd = "root:x:0:0::/:/\n" +
		"postseal:x:8823:8823:ACME mail challenges:/:/\n" +
		"postseal-issuer:x:8824:8823:S/MIME certificates:/:/\n"
	group = "root:x:0:\npostseal:x:8823:\n"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: image BUILT TEXTS OUT")
	}
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return err
	}
	archs, err := os.ReadDir(args[0])
	if err != nil {
		return err
	}
	for _, one := range images {
		l := newLayout(os.Getenv("VERSION"), time.Unix(epoch, 0).UTC())
		for _, arch := range archs {
			if err := one.add(l, arch.Name(), filepath.Join(args[0], arch.Name()), args[1]); err != nil {
				return err
			}
		}
		path := filepath.Join(args[2], one.name+"_"+l.version+"_image.tar")
		digest, err := l.write(path, one)
		if err != nil {
			return err
		}
		fmt.Printf("created image: %s\n%s %s\n", path, one.name, digest)
	}
	return nil
}

// add makes the image for one processor.
func (i image) add(l *layout, arch, built, texts string) error {
	t := new(tree)
	t.dir("/etc/postseal", 0o755, 0, 0)
	t.text("/etc/passwd", passwd)
	t.text("/etc/group", group)
	t.text("/etc/ssl/certs/ca-certificates.crt", roots())
	t.dir("/run/postseal", 0o750, mailUser, mailUser) // for a unix socket of the milter
	t.dir("/tmp", 0o1777, 0, 0)
	t.state()
	for _, path := range i.programs {
		t.copy(path, filepath.Join(built, filepath.Base(path)), 0o755)
	}
	for _, name := range []string{"LICENSE", "LICENSES-of-modules"} {
		t.copy("/usr/share/doc/postseal/"+name, filepath.Join(texts, name), 0o644)
	}
	sbom, err := os.ReadFile(filepath.Join(built, i.name+".cdx.json"))
	if err != nil {
		return err
	}
	t.text("/usr/share/doc/postseal/sbom.cdx.json", string(sbom))
	layer, err := archive(t.files, l.time)
	if err = cmp.Or(t.err, err); err != nil {
		return err
	}
	l.image(i, arch, layer, sbom)
	return nil
}

// state makes the directories as "postseal" does. A new volume that is mounted there
// begins with them, whichever of the halves comes first.
func (t *tree) state() {
	t.dir("/var/lib/postseal", 0o750, issuerUser, mailUser)
	for _, private := range []string{"accounts", "certs", "orders"} {
		t.dir("/var/lib/postseal/"+private, 0o700, issuerUser, mailUser)
	}
	t.dir("/var/lib/postseal/pending", 0o2750, issuerUser, mailUser)
	t.dir("/var/lib/postseal/answers", 0o3770, issuerUser, mailUser)
}

// tag returns what a registry calls a version: of + and ~ it knows nothing.
func tag(version string) string { return strings.NewReplacer("+", "-", "~", "-").Replace(version) }
