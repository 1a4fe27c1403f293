// Package check is what postseal and postseal-check say to each other: Options go to
// the child's standard input as one JSON document, and a Finding a line comes back from
// its standard output.
//
// "postseal check" looks at mail, and at the servers that have to do with it; the program
// with the keys does not. So it is a program of its own that does the looking, and that is
// handed what only the other one knows.
package check

// Options say what to look at. Empty fields are not looked at, or have the default
// of the flag of that name.
type Options struct {
	Config   Config
	State    string // the state directory
	Redis    string // URL of what both halves share, where that is not the directory
	MailUser string // who the mail half runs as; "" for the user "postseal"
	Version  string // of the program, for User-Agent

	Server   string // the CA's directory
	Account  string // URL of the account there; "" for none
	CABundle string
	Emails   []string
	Resolver string // HOST:PORT; "" for the system's

	PostfixConfig string // directory; "" for Postfix's own default
	Milter        string // unix:PATH or inet:PORT@HOST; "" for what Postfix says

	SMTP         string // URL
	Helo         string // name of this host in EHLO; "" for what the mail half finds out
	SMTPCA       string // PEM file
	SMTPPassword string
	MailTo       string // send a message in the form of a reply there
	Mailbox      string // Maildir or mbox file where it arrives
	Message      string // file: judge this copy of such a message
}

// Config is what the configuration file says and no flag does.
type Config struct {
	Path              string // "" if there is no file
	TrustedAuthservID string // of that table
	CATable           string // name of the [ca] table that applies; "" for none
	DKIM              []DKIMKey
	SMIMERoots        string
	SMTPPasswordFile  string
	Passphrase        bool // the file has that of containers in it
}

// DKIMKey is the public half of a key with which the mail half signs replies itself.
type DKIMKey struct {
	Domain, Selector, Path string
	Public                 []byte // PKIX; nil if the file cannot be read, or has none
	Wrong                  string // why it has none
}

// Status is what a finding means.
type Status string

// The statuses. A warning is for what works and may not for long, or could not be
// looked at and somebody can help that. Skipped is what was not looked at: it is neither
// good nor bad, and the text says why.
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
