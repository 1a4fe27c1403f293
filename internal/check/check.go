// Package check is the protocol between postseal and postseal-check: the parent writes
// Options to the child's standard input as one JSON document, and the child writes a Finding
// a line to its standard output.
//
// "postseal check" looks at mail and at the servers around it; the program with the keys must
// not. So another program does the looking, and receives what only the first one knows.
package check

// Options say what to look at. An empty field is not looked at, or has the default of the
// flag of that name.
type Options struct {
	Config   Config
	State    string // the state directory
	Redis    string // URL of the shared store, if that is not the directory
	MailUser string // the mail half's user; "" for the user "postseal"
	Version  string // of the program, for User-Agent

	Server   string // the CA's directory
	Account  string // URL of the account there; "" for none
	CABundle string
	Emails   []string
	Resolver string // HOST:PORT; "" for the system's

	PostfixConfig string // directory; "" for Postfix's own default
	Milter        string // unix:PATH or inet:PORT@HOST; "" for Postfix's setting

	SMTP         string // URL
	Helo         string // name of this host in EHLO; "" for the mail half's own choice
	SMTPCA       string // PEM file
	SMTPPassword string
	MailTo       string // address for a message in the form of a reply
	Mailbox      string // Maildir or mbox file where it arrives
	Message      string // file with a copy of such a message to judge
}

// Config holds the configuration file's values that have no flag.
type Config struct {
	Path              string // "" if there is no file
	TrustedAuthservID string // of that table
	CATable           string // name of the [ca] table that applies; "" for none
	DKIM              []DKIMKey
	SMIMERoots        string
	SMTPPasswordFile  string
	Passphrase        bool // the file holds the passphrase of containers
}

// DKIMKey is the public half of a key with which the mail half itself signs replies.
type DKIMKey struct {
	Domain, Selector, Path string
	Public                 []byte // PKIX; nil if the file cannot be read, or has none
	Wrong                  string // why there is none
}

// Status is the meaning of a finding.
type Status string

// The statuses. A warning is for something that works but may stop soon, or that the check
// could not look at although somebody can change that. Skipped means that the check did not
// look: this is neither good nor bad, and the text says why.
const (
	OK      Status = "ok"
	Skipped Status = "skipped"
	Warning Status = "warning"
	Failure Status = "failure"
)

// Finding is one line of the outcome. The names of its JSON are stable.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Text   string `json:"text"`
	Hint   string `json:"hint,omitempty"` // what to do
}
