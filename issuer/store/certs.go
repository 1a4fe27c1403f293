package store

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"postseal/issuer/cert"
	"postseal/state"
)

// Names of the files in certs/NAME beside renewal.json.
const (
	CertFile       = "cert.pem"
	ChainFile      = "chain.pem"
	FullchainFile  = "fullchain.pem"
	KeyFile        = "privkey.pem"
	P12File        = "cert.p12"
	PassphraseFile = "passphrase"
)

// Passphrase returns the passphrase beside a container, "" if there is none.
func Passphrase(dir string) string {
	data, _ := os.ReadFile(filepath.Join(dir, PassphraseFile))
	return strings.TrimSpace(string(data))
}

// PreviousDir keeps former generations: only the key of an old certificate opens mail that
// was encrypted to it.
const PreviousDir = ".previous"

// EnrollDir is what enrollment remembers, in certs/: see package enroll.
const EnrollDir = ".enroll"

// Generation is the content of certs/NAME.
type Generation struct {
	Key        crypto.Signer
	Chain      []*x509.Certificate
	Passphrase string
	Renewal    *Renewal
}

// ReadGeneration reads a directory that some run's Put has written. A renewal may replace it
// meanwhile, so it reads again if the files do not match.
func ReadGeneration(dir string) (*Generation, error) {
	g, err := readGeneration(dir)
	if err != nil {
		g, err = readGeneration(dir)
	}
	return g, err
}

func readGeneration(dir string) (*Generation, error) {
	r, err := ReadRenewal(dir)
	if err != nil {
		return nil, err
	}
	key, err := ReadKey(dir)
	if err != nil {
		return nil, err
	}
	chain, err := parseFile(filepath.Join(dir, FullchainFile), cert.ParseChain)
	if err != nil {
		return nil, err
	}
	g := &Generation{key, chain, Passphrase(dir), r}
	if r, err = ReadRenewal(dir); err != nil {
		return nil, err
	}
	leaf := cert.Fingerprint(chain[0])
	if leaf != r.Fingerprint || leaf != g.Renewal.Fingerprint || !cert.SamePublicKey(chain[0].PublicKey, key) {
		return nil, fmt.Errorf("%s: key, certificate and %s do not belong together", dir, RenewalFile)
	}
	return g, nil
}

func parseFile[T any](path string, parse func([]byte) (T, error)) (parsed T, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return parsed, err
	}
	if parsed, err = parse(data); err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return parsed, err
}

// Previous returns the directories of the former generations of certs/NAME.
func (d *Disk) Previous(name string) (dirs []string, err error) {
	at := d.Path("certs", PreviousDir, name)
	entries, err := os.ReadDir(at)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, Error(at, err)
	}
	for _, e := range entries {
		dirs = append(dirs, filepath.Join(at, e.Name()))
	}
	return dirs, nil
}

// PreviousNames returns the names in certs/.previous that start with base.
func (d *Disk) PreviousNames(base string) (names []string, err error) {
	at := d.Path("certs", PreviousDir)
	entries, err := os.ReadDir(at)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, Error(at, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), base) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// files returns the content by file name. All files are 0600: the directory is the issuer's
// alone, and a copy of it should stay so.
func (g *Generation) files() (map[string][]byte, error) {
	key, err := cert.MarshalKey(g.Key)
	if err != nil {
		return nil, err
	}
	p12, err := cert.EncodeContainer(g.Renewal.P12, g.Key, g.Chain, g.Passphrase)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		CertFile:      cert.MarshalChain(g.Chain[:1]),
		ChainFile:     cert.MarshalChain(g.Chain[1:]),
		FullchainFile: cert.MarshalChain(g.Chain),
		KeyFile:       key,
		P12File:       p12,
	}
	if k := g.Renewal.Passphrase.Kind; k == "" || k == cert.PassGenerated {
		files[PassphraseFile] = []byte(g.Passphrase + "\n")
	}
	return files, nil
}

// Put replaces certs/NAME as one set. A reader that opens the directory sees the old
// generation or the new one, even after a crash. If NAME is a symbolic link or a mount point,
// its target stays, and Put replaces the files one by one.
func (d *Disk) Put(name string, g *Generation) error {
	files, err := g.files()
	if err != nil {
		return err
	}
	if files[RenewalFile], err = marshal(g.Renewal); err != nil {
		return err
	}
	if err := d.keepPrevious(name, g.Renewal.Serial); err != nil {
		return err
	}
	dir := d.CertDir(name)
	if info, err := os.Lstat(dir); err == nil && info.Mode().Type() == fs.ModeSymlink {
		return replaceFiles(dir, files)
	}
	tmp, err := os.MkdirTemp(d.Path("certs"), "."+name+newInfix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp, dir, files); err != nil {
		return err
	}
	err = replaceDir(tmp, dir)
	if isPinned(err) {
		return replaceFiles(dir, files)
	}
	return errors.Join(err, state.SyncDir(d.Path("certs")))
}

// fill writes the files into the new directory tmp, which will replace dir.
func fill(tmp, dir string, files map[string][]byte) error {
	for file, data := range files {
		if err := writeSynced(filepath.Join(tmp, file), data, filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	f, err := os.Open(tmp)
	if err != nil {
		return err
	}
	defer f.Close()
	return errors.Join(keepAccess(dir, f, false), f.Sync())
}

// replaceFiles replaces the files of a directory that has to stay, renewal.json last: until
// that is there, the certificate is the old one, and the next run resumes the order.
func replaceFiles(dir string, files map[string][]byte) error {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(name string) bool { return name == RenewalFile })
	for _, name := range append(names, RenewalFile) {
		if err := replaceFile(filepath.Join(dir, name), files[name]); err != nil {
			return err
		}
	}
	if files[PassphraseFile] == nil { // the former container had its own
		if err := os.Remove(filepath.Join(dir, PassphraseFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return state.SyncDir(dir)
}

// writeSynced writes a new file that is on disk when it returns, with the group rights of the
// one that it replaces. Its directory has no reader yet.
func writeSynced(path string, data []byte, old string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, keepAccess(old, f, false), f.Sync(), f.Close())
}

// keepPrevious links the files of certs/NAME into certs/.previous/NAME/SERIAL, unless a
// killed run has stored the new generation already. Links cost nothing and exist before the
// set is exchanged; between file systems or mounts keepPrevious copies the files.
func (d *Disk) keepPrevious(name, serial string) error {
	old := d.CertDir(name)
	entries, err := os.ReadDir(old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	label := d.Now().UTC().Format("20060102T150405Z")
	if r, err := ReadRenewal(old); err == nil && r.Serial != "" {
		label = r.Serial
	}
	if label == serial {
		return nil
	}
	dir := d.Path("certs", PreviousDir, name, label)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue // a file system's lost+found
		}
		if err := linkOrCopy(filepath.Join(old, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	names := filepath.Dir(dir)
	return errors.Join(state.SyncDir(dir), state.SyncDir(names), state.SyncDir(filepath.Dir(names)), state.SyncDir(d.Path("certs")))
}

// linkOrCopy leaves an existing name alone: an earlier run has made it, and it is whole.
func linkOrCopy(from, to string) error {
	err := os.Link(from, to)
	switch {
	case errors.Is(err, fs.ErrExist), err != nil && Exists(to):
		return nil
	case isPinned(err):
		return copyFile(from, to)
	}
	return err
}

// copyFile names the copy once it is whole, since a run may end in the middle.
func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return replaceAs(to, data, from, false)
}

// replaceDir makes tmp the directory path; afterwards tmp is the former path.
func replaceDir(tmp, path string) error {
	if err := state.SyncDir(tmp); err != nil {
		return err
	}
	err := os.Rename(tmp, path)
	if err == nil || !Exists(path) || isPinned(err) {
		return err
	}
	if err := exchangeDirs(tmp, path); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return replaceByRenames(tmp, path)
}

// replaceByRenames is for file systems that cannot exchange names: for a moment the name does
// not exist.
func replaceByRenames(tmp, path string) error {
	aside := tmp + ".old"
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return os.RemoveAll(aside)
}

// newInfix marks a directory of certs/ that is being written.
const newInfix = ".new-"

// abandoned is the age at which an unfinished directory has lost its writer, since writing
// takes milliseconds.
const abandoned = time.Hour

// Sweep removes the leftovers of killed processes, and old histories.
func (d *Disk) Sweep() error {
	entries, err := os.ReadDir(d.Path("certs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name()[0] != '.' || !strings.Contains(e.Name(), newInfix) {
			continue
		}
		if info, err := e.Info(); err == nil && d.Now().Sub(info.ModTime()) > abandoned {
			if err := os.RemoveAll(d.Path("certs", e.Name())); err != nil {
				return err
			}
		}
	}
	d.sweepHistories()
	for _, dir := range []string{"orders", "pending", "certs/" + historyDir, "certs/" + runsDir, "certs/" + EnrollDir} {
		d.sweepFiles(d.Path(dir))
	}
	return nil
}

// halfWritten matches the name of a file whose writer died before renaming it.
var halfWritten = regexp.MustCompile(`^\..*\.json\d+$`)

// sweepFiles removes files that lost their writer, and locks that nobody holds. A file that
// it cannot remove does no harm.
func (d *Disk) sweepFiles(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || d.Now().Sub(info.ModTime()) <= abandoned {
			continue
		}
		path := filepath.Join(dir, e.Name())
		switch {
		case halfWritten.MatchString(e.Name()):
			os.Remove(path)
		case strings.HasPrefix(e.Name(), ".lock-"):
			if unlock, err := TryLock(path); err == nil {
				unlock() // with the file
			}
		}
	}
}

// ReadKey reads the private key in a directory of certs/.
func ReadKey(dir string) (crypto.Signer, error) {
	return parseFile(filepath.Join(dir, KeyFile), cert.ParseKey)
}

// ReadLeaf reads the certificate there.
func ReadLeaf(dir string) (*x509.Certificate, error) {
	chain, err := parseFile(filepath.Join(dir, CertFile), cert.ParseChain)
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}
