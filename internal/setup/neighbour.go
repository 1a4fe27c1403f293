package setup

import "strings"

// Neighbour is a program that can hand mail over to postseal, with its recipe.
type Neighbour struct {
	Name  string // what --via calls it
	Title string
	mta   bool // receives mail for the machine; else it only delivers

	programs []string // one of these and
	files    []string // one of these are there where the neighbour is; "" for any

	dir      string   // of the recipe in contrib
	helpers  []helper // files of postseal's own
	lines    []addition
	commands []string // that make the neighbour see what was added
	own      []addition
	socket   socket
	note     string // what lines cannot show
}

// helper is a file of a recipe that is postseal's own.
type helper struct {
	from, to string
	mode     uint32
	systemd  bool // only where there is systemd
}

// addition is a file of a recipe that goes into a file of somebody else.
type addition struct {
	from, to string
	place    Place
	mode     uint32 // of a new file; 0 means 0644
}

// Place says where in a file something goes.
type Place string

// The places.
const (
	NewFile Place = "new"     // a file of that name
	AtEnd   Place = "end"     // behind what is there
	AtStart Place = "start"   // before what is there
	Instead Place = "instead" // of the setting of the same name
	Above   Place = "above"   // above the lines that the text names
)

// socket says where the milter's socket is. Where systemd makes it the directory is
// root's, because nobody else may write where root gives a file its owner by name; a
// milter that is started as the mail half's user makes its own, in a directory of that
// user which the mail server's group may enter.
type socket struct {
	passed, own, group string
}

// ownSocket turns the lines of a recipe into those for a socket of the milter's own.
var ownSocket = strings.NewReplacer("unix:postseal/", "unix:postseal-milter/", "local:/run/postseal/", "local:/var/spool/postseal-milter/")

const socketName = "milter.sock"

var (
	deliver = helper{from: "lib/deliver", to: "/usr/lib/postseal/deliver", mode: 0o755}
	before  = helper{from: "lib/before", to: "/usr/lib/postseal/before", mode: 0o644}
	again   = helper{from: "dovecot/postseal-again", to: "/usr/lib/postseal/postseal-again", mode: 0o755}
	sudoers = addition{from: "sudoers.d/postseal", to: "/etc/sudoers.d/postseal", place: NewFile, mode: 0o440}
)

// neighbours are those with a recipe that an admin can follow without a choice. The
// order is that of preference among those that are there.
var neighbours = []*Neighbour{
	{
		Name: "postfix", Title: "Postfix", mta: true,
		programs: []string{"usr/sbin/postfix", "usr/local/sbin/postfix"},
		files:    []string{"etc/postfix/main.cf", "usr/local/etc/postfix/main.cf"},
		dir:      "postfix-milter",
		lines:    []addition{{from: "postfix-milter/main.cf", to: mainCF, place: AtEnd}},
		commands: []string{"postfix reload"},
		socket:   socket{"/var/spool/postfix/postseal", "/var/spool/postfix/postseal-milter", "postfix"},
	},
	{
		Name: "sendmail", Title: "Sendmail", mta: true,
		programs: []string{"usr/sbin/sendmail-mta", "usr/libexec/sendmail/sendmail", "usr/sbin/sendmail.sendmail"},
		files:    []string{"etc/mail/sendmail.mc", "etc/mail/sendmail.cf"},
		dir:      "sendmail",
		helpers: []helper{
			{from: "sendmail/socket.conf", to: "/etc/systemd/system/postseal-milter.socket.d/sendmail.conf", systemd: true},
		},
		lines:    []addition{{from: "sendmail/sendmail.mc", to: "/etc/mail/sendmail.mc", place: Above}},
		commands: []string{"make -C /etc/mail", "service sendmail restart"},
		socket:   socket{"/run/postseal", "/var/spool/postseal-milter", "smmsp"},
	},
	{
		Name: "exim", Title: "Exim", mta: true,
		programs: []string{"usr/sbin/exim4", "usr/sbin/exim", "usr/local/sbin/exim"},
		files:    []string{"etc/exim4/update-exim4.conf.conf", "etc/exim4/exim4.conf", "etc/exim/exim.conf", "usr/local/etc/exim/configure"},
		dir:      "exim", helpers: []helper{deliver},
		lines: []addition{
			{from: "exim/router", to: "/etc/exim4/conf.d/router/250_postseal", place: NewFile},
			{from: "exim/transport", to: "/etc/exim4/conf.d/transport/30_postseal", place: NewFile},
		},
		note:     "that is for Debian's split configuration; with one file: the router behind the one for other domains, the transport among the transports",
		commands: []string{"update-exim4.conf", "systemctl reload exim4"},
	},
	{
		Name: "opensmtpd", Title: "OpenSMTPD", mta: true,
		programs: []string{"usr/sbin/smtpd", "usr/local/sbin/smtpd"},
		files:    []string{"etc/smtpd.conf", "etc/mail/smtpd.conf", "usr/local/etc/mail/smtpd.conf"},
		dir:      "opensmtpd", helpers: []helper{before},
		lines:    []addition{sudoers, {from: "opensmtpd/smtpd.conf", to: "/etc/smtpd.conf", place: AtStart}},
		note:     "then add  wrapper \"postseal\"  to each action of /etc/smtpd.conf that delivers to users",
		commands: []string{"smtpd -n", "systemctl restart opensmtpd"},
	},
	{
		Name: "dovecot", Title: "Dovecot with Pigeonhole",
		programs: []string{"usr/lib/dovecot/modules/lib90_sieve_plugin.so", "usr/lib64/dovecot/lib90_sieve_plugin.so", "usr/local/lib/dovecot/lib90_sieve_plugin.so"},
		files:    []string{"etc/dovecot/dovecot.conf", "usr/local/etc/dovecot/dovecot.conf"},
		dir:      "dovecot", helpers: []helper{again},
		lines: []addition{
			sudoers,
			{from: "dovecot/90-postseal.conf", to: "/etc/dovecot/conf.d/90-postseal.conf", place: NewFile},
			{from: "dovecot/postseal.sieve", to: "/etc/dovecot/sieve/postseal.sieve", place: NewFile},
			{from: "dovecot/postseal", to: "/etc/dovecot/sieve-bin/postseal", place: NewFile, mode: 0o755},
			{from: "dovecot/cron", to: "/etc/cron.d/postseal", place: NewFile},
		},
		commands: []string{"doveadm reload", "sievec /etc/dovecot/sieve/postseal.sieve"},
	},
	{
		Name: "procmail", Title: "procmail",
		programs: []string{"usr/bin/procmail", "usr/local/bin/procmail"}, files: []string{""},
		dir:   "procmail",
		lines: []addition{sudoers, {from: "procmail/etc-procmailrc", to: "/etc/procmailrc", place: AtEnd}},
		own:   []addition{{from: "procmail/procmailrc", to: "~/.procmailrc", place: AtStart}},
	},
	{
		Name: "maildrop", Title: "maildrop",
		programs: []string{"usr/bin/maildrop", "usr/local/bin/maildrop"}, files: []string{""},
		dir:   "maildrop",
		lines: []addition{sudoers, {from: "maildrop/etc-maildroprc", to: "/etc/maildroprc", place: AtEnd}},
		own:   []addition{{from: "maildrop/mailfilter", to: "~/.mailfilter", place: AtStart, mode: 0o600}},
	},
	{
		Name: "postfix-pipe", Title: "Postfix, through pipe(8)",
		dir: "postfix-pipe", helpers: []helper{deliver},
		lines: []addition{
			{from: "postfix-pipe/postseal_header_checks", to: "/etc/postfix/postseal_header_checks", place: NewFile},
			{from: "postfix-pipe/main.cf", to: mainCF, place: AtEnd},
			{from: "postfix-pipe/master.cf", to: "/etc/postfix/master.cf", place: AtEnd},
		},
		commands: []string{"postfix reload"},
	},
	{Name: None, Title: "nothing that is known here"},
}

// None is the neighbour that is set up by hand.
const None = "none"

const mainCF = "/etc/postfix/main.cf"

// Names returns what --via can name.
func Names() (names []string) {
	for _, n := range neighbours {
		names = append(names, n.Name)
	}
	return names
}

// ByName returns the neighbour that --via names, nil for an unknown one.
func ByName(name string) *Neighbour {
	for _, n := range neighbours {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// milter reports whether postseal-milter serves this neighbour.
func (n *Neighbour) milter() bool { return n.socket.group != "" }

// ForUsers reports whether a user can have it hand over the own mail.
func (n *Neighbour) ForUsers() bool { return n.own != nil }
