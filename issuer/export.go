package issuer

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// Export asks for the keys of an address as files for its owner's mail programs.
type Export struct {
	Email      string
	Kinds      []string        // nil for all
	To         string          // a file, or a directory
	Format     string          // one of cert.Exports
	Former     bool            // the earlier keys, too: old mail needs them
	Passphrase cert.Passphrase // without a kind: each certificate's own; PEM has none
}

// Exported is a certificate whose key was exported. Several can share a file. The field names
// of its JSON are stable.
type Exported struct {
	File           string    `json:"file"`
	Name           string    `json:"name"` // below certs/
	Kind           string    `json:"kind,omitempty"`
	Serial         string    `json:"serial"`
	NotAfter       time.Time `json:"not_after"`
	Former         bool      `json:"former"`
	PassphraseFile string    `json:"passphrase_file,omitempty"` // "" if no file holds the passphrase, or there is none
}

// exportable is a certificate that may be exported.
type exportable struct {
	name, dir string
	former    bool
	*store.Generation
}

// Export writes the keys of an address. It changes nothing in the state directory. It names
// damaged generations and leaves them out.
func (i *Issuer) Export(x Export) ([]Exported, error) {
	addr, err := x.check()
	if err != nil {
		return nil, err
	}
	all, err := i.exportables(addr, x)
	if err != nil {
		return nil, err
	}
	ids, done, err := x.identities(addr, all)
	if err != nil {
		return nil, err
	}
	files, err := x.encode(addr, ids)
	if err != nil {
		return nil, err
	}
	if err := x.place(files); err != nil {
		return nil, err
	}
	for n := range done {
		done[n].File = files[min(n, len(files)-1)].path // a profile holds all of them
	}
	return done, writeOut(files)
}

// check checks the request and returns the address.
func (x *Export) check() (string, error) {
	addr, err := cert.ParseAddress(x.Email)
	if err == nil && !slices.Contains(cert.Exports, x.Format) {
		err = failure.In("format", failure.Usage("use "+strings.Join(cert.Exports, ", "), "unknown format %q", x.Format))
	}
	return addr, err
}

// exportables reads the certificates of an address that are in force, and with Former the
// earlier ones, the newest first. A revoked or expired one counts as earlier, wherever it is.
func (i *Issuer) exportables(addr string, x Export) (all []exportable, err error) {
	certs, err := i.certificates([]string{addr}, x.Kinds)
	if err != nil {
		return nil, err
	}
	for _, c := range certs {
		if inForce := c.InForce(i.Now()); inForce || x.Former {
			all = i.addExportable(all, exportable{name: c.Name, dir: i.disk.CertDir(c.Name), former: !inForce})
		}
	}
	if x.Former {
		if all, err = i.addFormer(all, addr, certs); err != nil {
			return nil, err
		}
	}
	all = slices.DeleteFunc(all, func(e exportable) bool {
		return !cert.NamesOneOf(e.Renewal.Emails, []string{addr}) || !isOneOf(e.Renewal.Kind, x.Kinds)
	})
	slices.SortStableFunc(all, func(a, b exportable) int { return b.Renewal.NotBefore.Compare(a.Renewal.NotBefore) })
	switch {
	case len(all) == 0 && !x.Former:
		return nil, failure.Failed(failure.ExportFormer, "no certificate in force names %s", addr+ofKind(x.Kinds))
	case len(all) == 0:
		return nil, failure.Failed(failure.SeeStatus, "no certificate names %s", addr+ofKind(x.Kinds))
	}
	return all, nil
}

// addFormer adds the earlier generations of certificates, and any others whose names start
// with the address: their successors may be damaged.
func (i *Issuer) addFormer(all []exportable, addr string, certs []store.Certificate) ([]exportable, error) {
	names, err := i.disk.PreviousNames(store.BaseName(addr))
	for _, c := range certs {
		if !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	for _, name := range names {
		dirs, dirErr := i.disk.Previous(name)
		err = cmp.Or(err, dirErr)
		for _, dir := range dirs {
			all = i.addExportable(all, exportable{name: name, dir: dir, former: true})
		}
	}
	return all, err
}

// addExportable reads one, unless all has it already: a killed run leaves the certificate in
// force among the former ones.
func (i *Issuer) addExportable(all []exportable, e exportable) []exportable {
	var err error
	if e.Generation, err = store.ReadGeneration(e.dir); err != nil {
		i.leftOut(e.name, err)
		return all
	}
	if slices.ContainsFunc(all, func(o exportable) bool { return o.Renewal.Fingerprint == e.Renewal.Fingerprint }) {
		return all
	}
	return append(all, e)
}

// identities gives each its label and passphrase.
func (x *Export) identities(addr string, all []exportable) (ids []*cert.Identity, done []Exported, err error) {
	inForce := map[string]int{} // by kind
	for _, e := range all {
		if !e.former {
			inForce[e.Renewal.Kind]++
		}
	}
	for _, e := range all {
		kind := e.Renewal.Kind
		id := &cert.Identity{Label: store.BaseName(addr), Key: e.Key, Chain: e.Chain}
		if kind != "" {
			id.Label += "." + kind
		}
		if e.former || inForce[kind] > 1 {
			id.Label += "." + cert.Serial(e.Chain[0])
		}
		d := Exported{Name: e.name, Kind: kind, Serial: e.Renewal.Serial, NotAfter: e.Renewal.NotAfter, Former: e.former}
		if x.Format != "pem" {
			if id.Passphrase, d.PassphraseFile, err = x.lock(e); err != nil {
				return nil, nil, err
			}
		}
		ids, done = append(ids, id), append(done, d)
	}
	return ids, done, nil
}

// lock returns a passphrase, and the file that holds it.
func (x *Export) lock(e exportable) (word, file string, err error) {
	p := x.Passphrase
	if p.Kind == "" {
		p = e.Renewal.Passphrase
	}
	if p.Kind == "" || p.Kind == cert.PassGenerated {
		file = filepath.Join(e.dir, store.PassphraseFile)
		if e.Passphrase == "" {
			return "", "", failure.Failed(failure.GivePass, "the passphrase of %s is not in %s", e.name, file)
		}
		return e.Passphrase, file, nil
	}
	word, err = p.Word("")
	return word, p.Path, err
}

// outFile is a file to write.
type outFile struct {
	name, path string
	data       []byte
}

// encode makes the files: one profile for all, or a file for each.
func (x *Export) encode(addr string, ids []*cert.Identity) ([]outFile, error) {
	if x.Format == "mobileconfig" {
		owner := store.BaseName(addr)
		data, err := cert.EncodeProfile(owner, ids)
		return []outFile{{name: owner + ".mobileconfig", data: data}}, err
	}
	var files []outFile
	for _, id := range ids {
		data, err := id.Encode(x.Format)
		if err != nil {
			return nil, err
		}
		files = append(files, outFile{name: id.Label + "." + strings.TrimSuffix(x.Format, "-legacy"), data: data})
	}
	return files, nil
}

// place chooses a path for each file. It refuses before anything is written.
func (x *Export) place(files []outFile) (err error) {
	info, statErr := os.Stat(x.To)
	isDir := statErr == nil && info.IsDir()
	if !isDir && len(files) > 1 {
		return failure.In("to", failure.Usage("give a directory that exists",
			"%q is not a directory, and there are %d files to write", x.To, len(files)))
	}
	for n := range files {
		f := &files[n]
		if f.path = x.To; isDir {
			f.path = filepath.Join(x.To, f.name)
		}
		err = cmp.Or(err, store.CheckOut(f.path))
	}
	return failure.In("to", err)
}

func writeOut(files []outFile) error {
	for _, f := range files {
		if err := store.WriteOut(f.path, f.data); err != nil {
			return failure.In("to", failure.Failed("give a place that this user can write to", "%w", err))
		}
	}
	return nil
}
