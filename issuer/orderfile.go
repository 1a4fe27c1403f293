package issuer

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"postseal/state"
)

// fileVersion is that of orders/, accounts/ and renewal.json.
const fileVersion = state.Version

// orderFile is orders/NAME.json: all that the next run needs to go on.
type orderFile struct {
	Version int `json:"version"`
	Settings
	DryRun     bool         `json:"dry-run,omitempty"`
	Created    time.Time    `json:"created"`
	Since      time.Time    `json:"since"`         // of the first of the orders that this one has replaced
	URL        string       `json:"url,omitempty"` // of the order; "" until the CA answered
	Replaces   string       `json:"replaces,omitempty"`
	Key        string       `json:"key,omitempty"` // PEM; set before the CSR is sent
	Finalizing bool         `json:"finalizing,omitempty"`
	Refusal    *refusal     `json:"refusal,omitempty"` // of the CSR, while the order lives on all the same
	Stored     bool         `json:"stored,omitempty"`  // certs/NAME is written, the hook not yet done
	HookError  string       `json:"hook-error,omitempty"`
	Challenges []*challenge `json:"challenges"`
}

// refusal is what a CA said to a CSR. Some then show the order as "processing" for ever.
type refusal struct {
	Text string    `json:"text"`
	Hint string    `json:"hint,omitempty"`
	At   time.Time `json:"at"`
	Ours bool      `json:"ours,omitempty"` // the request is at fault (4xx), not the server
}

// challenge is one address of an order. What the CA tells is not written down: it
// is asked again by a run that resumes.
type challenge struct {
	ID     string    `json:"id"`    // of the pending record
	Email  string    `json:"email"` // as ordered
	Posted time.Time `json:"posted,omitzero"`

	value string // the address as the CA wrote it
	authz string // URL
	url   string
	from  string // who sends the mail
	token string
	valid bool
}

// name returns the address in the CA's form, which is the one to use in mail and
// in the CSR.
func (c *challenge) name() string {
	if c.value != "" {
		return c.value
	}
	return c.Email
}

const drySuffix = ".dry-run"

func (i *Issuer) orderPath(name string, dry bool) string {
	if dry {
		name += drySuffix
	}
	return i.Dir.Path("orders", name+".json")
}

// readOrder returns nil if there is no order.
func readOrder(path string) (*orderFile, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o := new(orderFile)
	if err := json.Unmarshal(data, o); err != nil || o.Version != fileVersion || len(o.Emails) == 0 {
		return nil, notOurs(path, data, err)
	}
	return o, nil
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return state.WriteFile(path, append(data, '\n'), 0o600)
}

// orderNames returns the names of the orders on disk, dry runs among them.
func (i *Issuer) orderNames() ([]string, error) {
	entries, err := os.ReadDir(i.Dir.Path("orders"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok && name[0] != '.' {
			names = append(names, name)
		}
	}
	return names, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
