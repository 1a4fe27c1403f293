package issuer

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// mailGroupID is a group other than root's, to which an admin may give rights.
const mailGroupID = 8

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// access is the owner, group and mode of a file.
func access(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	s := info.Sys().(*syscall.Stat_t)
	return strconv.Itoa(int(s.Uid)) + " " + strconv.Itoa(int(s.Gid)) + " " + strconv.FormatInt(int64(info.Mode().Perm()), 8)
}

// The group rights that an admin gave the directory and the files survive renewals and a
// rewrite of renewal.json; rights of others do not, nor do files gain any.
func TestRenewalKeepsGroup(t *testing.T) {
	mta.NotShort(t)
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	res := w.obtain(w.request(alice))
	must(t, os.Chown(res.Dir, -1, mailGroupID))
	must(t, os.Chmod(res.Dir, os.ModeSetgid|0o755))
	for path, mode := range map[string]os.FileMode{res.Key: 0o644, res.Fullchain: 0o660} {
		must(t, os.Chown(path, -1, mailGroupID))
		must(t, os.Chmod(path, mode))
	}
	renewal := filepath.Join(res.Dir, store.RenewalFile)
	must(t, os.Chown(renewal, -1, mailGroupID))
	must(t, os.Chmod(renewal, 0o640))
	setACL(t, res.P12)
	for range 2 {
		if n := w.renew(w.issuer(), Renewal{Force: true}); n != 1 {
			t.Fatalf("%d renewed", n)
		}
	}
	_, err := w.issuer().Revoke(t.Context(), Revocation{CertPath: res.Cert}) // which writes renewal.json
	must(t, err)
	for path, want := range map[string]string{
		res.Dir: "0 8 750", res.Key: "0 8 640", res.Fullchain: "0 8 660", renewal: "0 8 640", res.Cert: "0 0 600", res.PassphraseFile: "0 0 600",
	} {
		if got := access(t, path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if info, err := os.Stat(res.Dir); err != nil || info.Mode()&os.ModeSetgid == 0 {
		t.Error("the directory has lost its set-group-ID bit")
	}
	if got := aclOf(t, res.P12); !strings.Contains(got, "user:daemon:r--") || !strings.Contains(got, "group::---") || !strings.Contains(got, "other::---") {
		t.Errorf("the access control list is\n%s", got)
	}
}

// setACL lets one more user read a file, as admins do beside the group.
func setACL(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.Command("setfacl", "-m", "u:daemon:r", path).CombinedOutput(); err != nil {
		t.Fatalf("setfacl (Debian package acl): %v\n%s", err, out)
	}
}

func aclOf(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("getfacl", "-cp", path).CombinedOutput()
	must(t, err)
	return string(out)
}

// certs/NAME is a symbolic link to a directory elsewhere, prepared by an admin or made from
// an existing one: status shows it, it can be renewed and revoked, and it stays a link.
func TestLinkedCertificate(t *testing.T) {
	mta.NotShort(t)
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	must(t, os.Mkdir(elsewhere, 0o750))
	_, err := w.dir.Create()
	must(t, err)
	must(t, os.Symlink(elsewhere, w.dir.Path("certs", alice)))
	w.moved(alice)
	if !store.Exists(filepath.Join(elsewhere, store.RenewalFile)) {
		t.Error("the certificate is not where the link leads")
	}
	if got := access(t, elsewhere); got != "0 0 750" {
		t.Errorf("the directory has %s", got)
	}

	const bob = "bob@example.test"
	res := w.obtain(w.request(bob))
	moved := filepath.Join(t.TempDir(), "moved")
	must(t, os.Rename(res.Dir, moved))
	must(t, os.Symlink(moved, res.Dir))
	w.moved(bob)
	must(t, os.Rename(moved, moved+".away"))
	if s, err := w.issuer().Status(); err != nil || len(s.Certificates) != 1 || !w.said(StepNote, "leads nowhere") {
		t.Errorf("%+v, %v", s, err)
	}
}

// moved orders if nothing exists yet, renews and revokes the certificate of an address whose
// directory is not a plain one.
func (w *world) moved(addr string) {
	w.t.Helper()
	dir := w.dir.Path("certs", addr)
	before, err := os.Lstat(dir)
	must(w.t, err)
	req := w.request(addr)
	req.Force = true
	first := w.obtain(req)
	req.Passphrase = cert.Passphrase{Kind: cert.PassNone}
	second := w.obtain(req)
	if store.Exists(filepath.Join(dir, store.PassphraseFile)) {
		w.t.Error("the passphrase of the former container is there")
	}
	s, err := w.issuer().Status()
	must(w.t, err)
	shown := false
	for _, c := range s.Certificates {
		shown = shown || c.Name == addr && c.Serial == second.Serial
	}
	if !shown {
		w.t.Errorf("status shows %+v", s.Certificates)
	}
	for _, file := range []string{store.CertFile, store.KeyFile, store.P12File, store.PassphraseFile, store.RenewalFile} {
		if !store.Exists(w.dir.Path("certs", store.PreviousDir, addr, first.Serial, file)) {
			w.t.Errorf("%s of the former certificate is not kept", file)
		}
	}
	if n := w.renew(w.issuer(), Renewal{Force: true, Emails: []string{addr}}); n != 1 {
		w.t.Errorf("%d renewed", n)
	}
	if done, err := w.issuer().Revoke(w.t.Context(), Revocation{CertPath: filepath.Join(dir, store.CertFile)}); err != nil || !done.Stored {
		w.t.Errorf("%+v, %v", done, err)
	}
	after, err := os.Lstat(dir)
	must(w.t, err)
	if !os.SameFile(before, after) {
		w.t.Error("the directory is another now")
	}
}

// certs/NAME is a mount point: of its own file system, and of a directory elsewhere.
func TestMountedCertificate(t *testing.T) {
	mta.NotShort(t)
	if os.Getenv("POSTSEAL_TEST_MOUNTS") == "" {
		cmd := exec.Command("unshare", "--mount", "--propagation", "private", os.Args[0], "-test.run=^TestMountedCertificate$", "-test.v")
		cmd.Env = append(os.Environ(), "POSTSEAL_TEST_MOUNTS=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	for name, args := range map[string][]string{"bind": {"--bind", t.TempDir()}, "own": {"-t", "tmpfs", "none"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testca.Config{AlwaysReady: true})
			_, err := w.dir.Create()
			must(t, err)
			dir := w.dir.Path("certs", alice)
			must(t, os.Mkdir(dir, 0o700))
			if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
				t.Fatalf("mount: %v\n%s", err, out)
			}
			defer exec.Command("umount", dir).Run()
			must(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
			w.moved(alice)
			if left := w.entries("certs"); len(left) != 2 { // and .previous
				t.Errorf("left in certs: %v", left)
			}
		})
	}
}
