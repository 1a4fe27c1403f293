package issuer

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// renewalName is the file in certs/NAME that makes a certificate renewable.
const renewalName = "renewal.json"

// renewalFile is renewal.json: the options of the order and what is known of the
// certificate, so that deciding whether it is due needs no other file.
type renewalFile struct {
	Version int `json:"version"`
	Settings
	Account     string    `json:"account"` // URL
	Issued      time.Time `json:"issued"`
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"sha256"`
	NotBefore   time.Time `json:"not-before"`
	NotAfter    time.Time `json:"not-after"`
	CertID      string    `json:"cert-id,omitempty"`  // RFC 9773, Section 4.1
	Window      *window   `json:"window,omitempty"`   // what the CA suggests, as last asked
	AskAfter    time.Time `json:"ask-after,omitzero"` // not to be asked again before
	Revoked     time.Time `json:"revoked,omitzero"`
}

func (i *Issuer) certDir(name string) string { return i.Dir.Path("certs", name) }

// readRenewal reads the renewal.json of a directory in certs/.
func readRenewal(dir string) (*renewalFile, error) {
	path := filepath.Join(dir, renewalName)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(renewalFile)
	if err := json.Unmarshal(data, r); err != nil || r.Version != fileVersion || len(r.Emails) == 0 {
		return nil, notOurs(path, data, err)
	}
	return r, nil
}

func (r *renewalFile) write(dir string) error {
	data, err := r.marshal()
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, renewalName), data)
}

func (r *renewalFile) marshal() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	return append(data, '\n'), err
}

// certNames returns the names in certs/. One may be a symbolic link to a directory
// elsewhere.
func (i *Issuer) certNames() ([]string, error) {
	entries, err := os.ReadDir(i.Dir.Path("certs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if (e.IsDir() || e.Type() == fs.ModeSymlink) && e.Name()[0] != '.' {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
