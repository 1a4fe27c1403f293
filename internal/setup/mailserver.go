package setup

import (
	"cmp"
	"io/fs"
	"regexp"
	"strings"
)

// MailServer is a program that can hand mail over to postseal, with its recipe.
type MailServer struct {
	Name  string // as in --via
	Title string

	programs, files []string // one of each must exist; "" always does
	delivers        bool     // and does not receive: chosen if no server receives mail for the machine
	recipe          []part
	commands        []string // make the server read its new lines
	note            string   // what the lines cannot show
	socket          socket

	filters func(*Machine) string // the filter that sees mail from SMTP, as replies are
}

// part is one file of a recipe.
type part struct {
	from   string // in contrib
	to     string // on the machine; with ~/ it is for one user's own mail
	place  Place
	mode   fs.FileMode // of a new file; 0 means 0644
	shared bool        // with other recipes: its presence does not show that the admin followed this one
	mark   string      // a regular expression that finds it; "" is any text
	what   string      // describes a file that does not speak for itself
}

// Place is where in a file a text belongs.
type Place string

// The places.
const (
	NewFile Place = "new"     // a new file of that name
	AtEnd   Place = "end"     // below the existing text
	AtStart Place = "start"   // above the existing text
	Instead Place = "instead" // of the setting of the same name
	Above   Place = "above"   // above the lines that the text names

	ours   Place = ""        // a file of postseal's own, which a step makes
	byHand Place = "by hand" // as the note says
)

// socket says where the milter's socket is. If systemd makes it, the directory is root's,
// because nobody else may write where root gives a file its owner by name. A milter that runs
// as the mail half's user makes its own, in a directory of that user which the mail server's
// group may enter.
type socket struct {
	passed, own, group string
}

// ownSocket rewrites the lines of a recipe for a socket of the milter's own.
var ownSocket = strings.NewReplacer(
	"unix:postseal/", "unix:postseal-milter/", "local:/run/postseal/", "local:/var/spool/postseal-milter/")

const (
	mainCF  = "/etc/postfix/main.cf"
	unitDir = "/etc/systemd/system/"
	mark    = "postseal"
)

var (
	deliver     = part{from: "lib/deliver", to: "/usr/lib/postseal/deliver", mode: 0o755}
	before      = part{from: "lib/before", to: "/usr/lib/postseal/before"}
	mailed      = part{from: "lib/report", to: "/usr/lib/postseal/report", mode: 0o755}
	sudoers     = part{from: "sudoers.d/postseal", to: "/etc/sudoers.d/postseal", place: NewFile, mode: 0o440, shared: true, mark: mark}
	issuerUnits = units("postseal-renew.service", "postseal-renew.timer", "postseal-enroll.service", "postseal-enroll.timer",
		"postseal-failed@.service", "postseal-report@.service")
	milterUnits = units("postseal-milter.service", "postseal-milter.socket")
)

func units(names ...string) (parts []part) {
	for _, name := range names {
		parts = append(parts, part{from: "systemd/" + name, to: unitDir + name})
	}
	return parts
}

// Servers are the mail servers whose recipe an admin can follow without a choice, in order of
// preference.
var Servers = []*MailServer{
	{
		Name: "postfix", Title: "Postfix",
		programs: []string{"sbin/postfix"}, files: []string{"etc/postfix/main.cf"},
		recipe:   []part{{from: "postfix-milter/main.cf", to: mainCF, place: AtEnd}},
		commands: []string{"postfix reload"},
		socket:   socket{"/var/spool/postfix/postseal", "/var/spool/postfix/postseal-milter", "postfix"},
		filters:  postfixFilters,
	},
	{
		Name: "sendmail", Title: "Sendmail",
		programs: []string{"sbin/sendmail-mta", "libexec/sendmail/sendmail", "sbin/sendmail.sendmail"},
		files:    []string{"etc/mail/sendmail.mc", "etc/mail/sendmail.cf"},
		recipe: []part{
			{from: "sendmail/socket.conf", to: unitDir + "postseal-milter.socket.d/sendmail.conf"},
			{from: "sendmail/sendmail.mc", to: sendmailMC, place: Above},
		},
		commands: []string{"make -C /etc/mail", "service sendmail restart"},
		socket:   socket{"/run/postseal", "/var/spool/postseal-milter", "smmsp"},
		filters:  sendmailFilters,
	},
	{
		Name: "exim", Title: "Exim",
		programs: []string{"sbin/exim4", "sbin/exim"},
		files:    []string{"etc/exim4/update-exim4.conf.conf", "etc/exim4/exim4.conf", "etc/exim/exim.conf", "etc/exim/configure"},
		recipe: []part{
			deliver,
			{from: "exim/router", to: "/etc/exim4/conf.d/router/250_postseal", place: NewFile},
			{from: "exim/transport", to: "/etc/exim4/conf.d/transport/30_postseal", place: NewFile},
		},
		note: "that is for Debian's split configuration; with one file: " +
			"the router behind the one for other domains, the transport among the transports",
		commands: []string{"update-exim4.conf", "systemctl reload exim4"},
		filters:  eximSigner,
	},
	{
		Name: "opensmtpd", Title: "OpenSMTPD",
		programs: []string{"sbin/smtpd"}, files: []string{"etc/smtpd.conf", "etc/mail/smtpd.conf"},
		recipe: []part{
			before,
			sudoers,
			{
				what: `wrapper "postseal" in an action of `, to: "/etc/smtpd.conf", place: byHand, shared: true,
				mark: `action\s.*wrapper\s+"?postseal"?`,
			},
			{from: "opensmtpd/smtpd.conf", to: "/etc/smtpd.conf", place: AtStart, mark: mark},
		},
		note:     "then add  wrapper \"postseal\"  to each action of /etc/smtpd.conf that delivers to users",
		commands: []string{"smtpd -n", "systemctl restart opensmtpd"},
	},
	{
		Name: "courier", Title: "courier-mta",
		programs: []string{"sbin/courier"}, files: []string{"etc/courier/courierd"},
		recipe: []part{
			before,
			sudoers,
			{from: "courier/esmtpd", to: "/etc/courier/esmtpd", place: AtEnd, mark: "NOADDRREWRITE=[12]"},
			{from: "courier/courierd", to: "/etc/courier/courierd", place: AtEnd, mark: mark},
		},
		note:     "where DEFAULTDELIVERY is not ./Maildir, put yours into its last line; users with a ~/.courier add its first line there",
		commands: []string{"systemctl restart courier courier-mta"},
	},
	{
		Name: "dovecot", Title: "Dovecot with Pigeonhole", delivers: true,
		programs: []string{
			"lib/dovecot/modules/lib90_sieve_plugin.so", "lib64/dovecot/lib90_sieve_plugin.so", "lib/dovecot/lib90_sieve_plugin.so",
		},
		files: []string{"etc/dovecot/dovecot.conf"},
		recipe: []part{
			{from: "dovecot/postseal-again", to: "/usr/lib/postseal/postseal-again", mode: 0o755},
			sudoers,
			{from: "dovecot/90-postseal.conf", to: "/etc/dovecot/conf.d/90-postseal.conf", place: NewFile},
			{from: "dovecot/postseal.sieve", to: "/etc/dovecot/sieve/postseal.sieve", place: NewFile},
			{from: "dovecot/postseal", to: "/etc/dovecot/sieve-bin/postseal", place: NewFile, mode: 0o755},
			{from: "dovecot/cron", to: "/etc/cron.d/postseal", place: NewFile},
		},
		commands: []string{"doveadm reload", "sievec /etc/dovecot/sieve/postseal.sieve"},
	},
	{
		Name: "procmail", Title: "procmail", delivers: true,
		programs: []string{"bin/procmail"}, files: []string{""},
		recipe: []part{
			sudoers,
			{from: "procmail/etc-procmailrc", to: "/etc/procmailrc", place: AtEnd, mark: mark},
			{from: "procmail/procmailrc", to: "~/.procmailrc", place: AtStart, mark: mark},
		},
	},
	{
		Name: "maildrop", Title: "maildrop", delivers: true,
		programs: []string{"bin/maildrop"}, files: []string{""},
		recipe: []part{
			sudoers,
			{from: "maildrop/etc-maildroprc", to: "/etc/maildroprc", place: AtEnd, mark: mark},
			{from: "maildrop/mailfilter", to: "~/.mailfilter", place: AtStart, mode: 0o600, mark: mark},
		},
	},
	{
		Name: "postfix-pipe", Title: "Postfix, through pipe(8)",
		recipe: []part{
			deliver,
			{from: "postfix-pipe/postseal_header_checks", to: "/etc/postfix/postseal_header_checks", place: NewFile},
			{from: "postfix-pipe/main.cf", to: mainCF, place: AtEnd, shared: true, mark: mark + "_"}, // not the milter
			{from: "postfix-pipe/master.cf", to: "/etc/postfix/master.cf", place: AtEnd, mark: mark},
		},
		commands: []string{"postfix reload"},
	},
	{
		Name: "none", Title: "nothing that is known here",
		note: "contrib/README.md has recipes for more mail servers, and for mailboxes on somebody else's",
	},
}

// Names returns the names for --via.
func Names(of []*MailServer) []string {
	names := []string{}
	for _, s := range of {
		names = append(names, s.Name)
	}
	return names
}

// Titles returns the names for people.
func Titles(of []*MailServer) (titles []string) {
	for _, s := range of {
		titles = append(titles, s.Title)
	}
	return titles
}

// ByName returns the mail server that --via names, nil for an unknown one.
func ByName(name string) *MailServer {
	for _, s := range Servers {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// milter reports whether postseal-milter serves this mail server.
func (s *MailServer) milter() bool { return s.socket.group != "" }

// ForUsers reports whether a user can have his own mail handed over.
func (s *MailServer) ForUsers() bool { return len(s.parts(true)) > 0 }

// parts returns the recipe for one user's own mail, or for the machine.
func (s *MailServer) parts(personal bool) (parts []part) {
	for _, p := range s.recipe {
		if strings.HasPrefix(p.to, "~/") == personal {
			parts = append(parts, p)
		}
	}
	return parts
}

// path returns the path of the part. Without a home, it is one that does not exist.
func (p part) path(home string) string { return strings.Replace(p.to, "~", cmp.Or(home, "~"), 1) }

// in reports whether the text of a file contains the part outside comments.
func (p part) in(text string) bool {
	if p.mark == "" {
		return text != ""
	}
	return regexp.MustCompile(`(?m)^\s*([^#\s].*)?` + p.mark).MatchString(text)
}
