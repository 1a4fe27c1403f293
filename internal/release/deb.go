package main

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// debianArch says what Debian calls a processor, where that differs.
var debianArch = map[string]string{"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"}

// deb makes the Debian package. dpkg-deb packs it; what is in it is decided here and
// in contrib/debian.
func (r release) deb() (string, error) {
	if r.OS != "linux" {
		return "", fmt.Errorf("a Debian package is for linux")
	}
	t, err := r.debTree()
	if err != nil {
		return "", err
	}
	control, err := r.control(t)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "postseal-deb-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	for name, f := range control {
		t["DEBIAN/"+name] = f
	}
	if err := t.write(dir, r.time()); err != nil {
		return "", err
	}
	name := filepath.Join(r.Out, fmt.Sprintf("postseal_%s_%s.deb", r.Version, r.debianArch()))
	return name, r.dpkgDeb(dir, name)
}

// dpkgDeb packs a directory. It sorts the names; owner, times and kind of compression
// are told, so that neither the builder nor the distribution decides.
func (r release) dpkgDeb(dir, name string) error {
	if err := os.MkdirAll(r.Out, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("dpkg-deb", "--root-owner-group", "-Zxz", "--build", dir, name)
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.Epoch))
	if _, err := result(cmd); err != nil {
		return err
	}
	if err := os.Chmod(name, 0o644); err != nil {
		return err
	}
	return writeSums(r.Out)
}

func (r release) debianArch() string {
	if name, ok := debianArch[r.Arch]; ok {
		return name
	}
	return r.Arch
}

const docs = "usr/share/doc/postseal"

// installed says where single files of the source are on a Debian system, or
// directories with all that is in them.
var installed = [][2]string{
	{"contrib/systemd/postseal-milter.service", "usr/lib/systemd/system/postseal-milter.service"},
	{"contrib/systemd/postseal-milter.socket", "usr/lib/systemd/system/postseal-milter.socket"},
	{"contrib/systemd/postseal-renew.service", "usr/lib/systemd/system/postseal-renew.service"},
	{"contrib/systemd/postseal-renew.timer", "usr/lib/systemd/system/postseal-renew.timer"},
	{"contrib/systemd/sysusers.d/postseal.conf", "usr/lib/sysusers.d/postseal.conf"},
	{"contrib/systemd/tmpfiles.d/postseal.conf", "usr/lib/tmpfiles.d/postseal.conf"},
	{"contrib/lib/before", "usr/lib/postseal/before"},
	{"contrib/lib/deliver", "usr/lib/postseal/deliver"},
	{"contrib/dovecot/postseal-again", "usr/lib/postseal/postseal-again"},
	{"contrib/hooks/mail-container", "usr/lib/postseal/hooks/mail-container"},
	{"contrib/hooks/print-smimea", "usr/lib/postseal/hooks/print-smimea"},
	{"contrib/hooks/publish-ldap", "usr/lib/postseal/hooks/publish-ldap"},
	{"contrib/debian/lintian-overrides", "usr/share/lintian/overrides/postseal"},
	{"contrib/postseal.toml", docs + "/examples/postseal.toml"},
	{"README.md", docs + "/README.md"},
	{"SECURITY.md", docs + "/SECURITY.md"},
	{"RELEASE_NOTES.md", docs + "/RELEASE_NOTES.md"},
}

// debTree returns the files that the package installs.
func (r release) debTree() (tree, error) {
	t := tree{}
	for _, f := range installed {
		if err := t.copy(r.Root, f[0], f[1]); err != nil {
			return nil, err
		}
	}
	if err := t.copyAll(r.Root, "contrib", docs+"/contrib", "debian"); err != nil {
		return nil, err
	}
	if err := r.addManuals(t, "usr/share/man"); err != nil {
		return nil, err
	}
	if err := r.addCompletions(t, inDebian); err != nil {
		return nil, err
	}
	if err := r.addRecords(t); err != nil {
		return nil, err
	}
	for _, name := range t.names() {
		if strings.HasPrefix(name, "usr/share/man/") || name == docs+"/changelog" {
			if err := t.compress(name); err != nil {
				return nil, err
			}
		}
	}
	return t, r.addPrograms(t, "usr/bin")
}

// addRecords adds what says where the package comes from.
func (r release) addRecords(t tree) error {
	modules, err := r.modules()
	if err != nil {
		return err
	}
	head, err := os.ReadFile(filepath.Join(r.Root, "contrib/debian/copyright"))
	if err != nil {
		return err
	}
	copyright, err := debianCopyright(head, modules)
	if err != nil {
		return err
	}
	list, err := r.sbom()
	if err != nil {
		return err
	}
	changelog, err := r.fill("changelog", r.fields(0))
	if err != nil {
		return err
	}
	t[docs+"/copyright"] = file{copyright, 0o644}
	t[docs+"/sbom.cdx.json"] = file{list, 0o644}
	t[docs+"/changelog"] = file{changelog, 0o644}
	return nil
}

// control returns the package's own files: what dpkg reads and runs.
func (r release) control(t tree) (tree, error) {
	size := 0
	var sums strings.Builder
	for _, name := range t.names() {
		size += (len(t[name].data) + 1023) / 1024
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(t[name].data), name)
	}
	control, err := r.fill("control", r.fields(size+len(t.dirs())))
	if err != nil {
		return nil, err
	}
	c := tree{"control": {control, 0o644}, "md5sums": {[]byte(sums.String()), 0o644}}
	for _, script := range []string{"config", "templates", "postinst", "prerm", "postrm"} {
		if err := c.copy(r.Root, "contrib/debian/"+script, script); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// fields are what the templates of contrib/debian have to be told.
type fields struct {
	Version, Arch, Maintainer, Date string
	Size                            int // in KiB
}

// maintainer is who makes the package: DEBFULLNAME and DEBEMAIL, as for all of
// Debian's tools.
func maintainer() string {
	name, mail := os.Getenv("DEBFULLNAME"), os.Getenv("DEBEMAIL")
	if name == "" {
		name = "the postseal authors"
	}
	if mail == "" {
		mail = "postseal@localhost.localdomain"
	}
	return fmt.Sprintf("%s <%s>", name, mail)
}

func (r release) fields(size int) fields {
	return fields{r.Version, r.debianArch(), maintainer(), r.time().Format(time.RFC1123Z), size}
}

// fill fills in a template of contrib/debian.
func (r release) fill(name string, with fields) ([]byte, error) {
	t, err := template.ParseFiles(filepath.Join(r.Root, "contrib/debian", name+".in"))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, with)
	return b.Bytes(), err
}
