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

	programs []string // one of them must exist
	delivers bool     // and does not receive: chosen if no server receives mail for the machine
	recipe   recipe
	checked  []part // what else must be there, by the admin's hand

	// For postseal-milter: its address by whether systemd runs, the mail server's group, and
	// what systemd needs. If systemd makes the socket, the directory is root's, because nobody
	// else may write where root gives a file its owner by name. A milter that runs as the mail
	// half's user makes its own, in a directory of that user which the group may enter.
	listen map[bool]string
	group  string
	units  []part
	enable string
}

// recipe is what an admin does, or init.
type recipe struct {
	parts    []part
	commands []string // make the program read its new lines
	notes    []string // what the lines cannot show
}

// part is one file of a recipe.
type part struct {
	from     string // in contrib
	to       string // on the machine; ~ is the home of a user
	place    Place
	mode     string         // of a new file, in octal
	perm     fs.FileMode    // of a file that a step makes
	keep     *regexp.Regexp // the lines that belong there
	mark     *regexp.Regexp // finds it there, in the admin's own form too
	packaged []string       // a package that has brought one of these has brought it
	shared   bool           // with other recipes: its presence does not show that the admin followed this one
	what     string         // describes a file that does not speak for itself
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

	ours Place = "" // a file of postseal's own, which a step makes
)

var (
	whole    = regexp.MustCompile(`(?s).*`)
	body     = regexp.MustCompile(`(?ms)^([^#d\n]|d[^n]).*\z`) // below the comment on top, which the plan makes superfluous
	anything = regexp.MustCompile(`(?s).`)
)

// named finds the name of postseal outside comments.
const named = `^\s*([^#\s].*)?postseal`

func newFile(from, to, mode string) part {
	return part{from: from, to: to, place: NewFile, mode: mode, keep: whole, mark: anything}
}

func lines(from, to string, place Place, mark string) part {
	return part{from: from, to: to, place: place, keep: body, mark: regexp.MustCompile("(?m)" + mark)}
}

// own is a file of postseal's own.
func own(from, to string, perm fs.FileMode) part {
	return part{from: from, to: to, place: ours, perm: perm, keep: whole, mark: anything, shared: true}
}

// unit is a unit of systemd, with which a package may come.
func unit(name string) part { return packaged(own("systemd/"+name, unitDir+name, 0o644), name) }

func packaged(p part, with string) part {
	p.packaged = []string{"lib/systemd/system/" + with}
	return p
}

// atStart is lines for a file that need not exist.
func atStart(from, to, mode, mark string) part {
	p := lines(from, to, AtStart, mark)
	p.mode = mode
	return p
}

func shared(p part) part {
	p.shared = true
	return p
}

const (
	mainCF     = "/etc/postfix/main.cf"
	sendmailMC = "/etc/mail/sendmail.mc"
	unitDir    = "/etc/systemd/system/"
)

var (
	deliver = own("lib/deliver", "/usr/lib/postseal/deliver", 0o755)
	before  = own("lib/before", "/usr/lib/postseal/before", 0o644)
	sudoers = part{
		from: "sudoers.d/postseal", to: "/etc/sudoers.d/postseal", place: NewFile, mode: "0440", keep: whole,
		mark: regexp.MustCompile("(?m)" + named), shared: true,
	}

	issuerUnits = []part{
		packaged(own("lib/report", "/usr/lib/postseal/report", 0o755), "postseal-report@.service"),
		unit("postseal-renew.service"), unit("postseal-renew.timer"), unit("postseal-enroll.service"), unit("postseal-enroll.timer"),
		unit("postseal-failed@.service"), unit("postseal-report@.service"),
	}
	milterService, milterSocket = unit("postseal-milter.service"), unit("postseal-milter.socket")
)

// ownSocket rewrites the lines of a recipe for a socket of the milter's own.
var ownSocket = []string{"unix:postseal/", "unix:postseal-milter/", "local:/run/postseal/", "local:/var/spool/postseal-milter/"}

// Servers are the mail servers whose recipe an admin can follow without a choice, in order of
// preference.
var Servers = []*MailServer{
	{
		Name: "postfix", Title: "Postfix",
		programs: []string{"sbin/postfix"},
		recipe: recipe{
			parts:    []part{shared(lines("postfix-milter/main.cf", mainCF, AtEnd, named))},
			commands: []string{"postfix reload"},
		},
		listen: map[bool]string{true: "unix:/var/spool/postfix/postseal/milter.sock", false: "unix:/var/spool/postfix/postseal-milter/milter.sock"},
		group:  "postfix", units: []part{milterService, milterSocket}, enable: "postseal-milter.socket ",
	},
	{
		Name: "sendmail", Title: "Sendmail",
		programs: []string{"sbin/sendmail-mta", "libexec/sendmail/sendmail", "sbin/sendmail.sendmail"},
		recipe: recipe{
			parts:    []part{shared(lines("sendmail/sendmail.mc", sendmailMC, Above, "^\\s*INPUT_MAIL_FILTER\\(`postseal'"))},
			commands: []string{"make -C /etc/mail", "service sendmail restart"},
		},
		listen: map[bool]string{true: "unix:/run/postseal/milter.sock", false: "unix:/var/spool/postseal-milter/milter.sock"},
		group:  "smmsp", enable: "postseal-milter.socket ",
		units: []part{milterService, milterSocket, own("sendmail/socket.conf", unitDir+"postseal-milter.socket.d/sendmail.conf", 0o644)},
	},
	{
		Name: "exim", Title: "Exim",
		programs: []string{"sbin/exim4", "sbin/exim"},
		recipe: recipe{
			parts: []part{
				deliver,
				newFile("exim/router", "/etc/exim4/conf.d/router/250_postseal", "0644"),
				newFile("exim/transport", "/etc/exim4/conf.d/transport/30_postseal", "0644"),
			},
			commands: []string{"update-exim4.conf", "systemctl reload exim4"},
			notes: []string{"the lines are for Debian's split configuration; with one file: " +
				"the router behind the one for other domains, the transport among the transports"},
		},
	},
	{
		Name: "opensmtpd", Title: "OpenSMTPD",
		programs: []string{"sbin/smtpctl"},
		recipe: recipe{
			parts:    []part{before, sudoers, atStart("opensmtpd/smtpd.conf", "/etc/smtpd.conf", "0644", `^\s*mda\s+wrapper\s+"?postseal`)},
			commands: []string{"smtpd -n", "systemctl restart opensmtpd"},
			notes:    []string{"each action of /etc/smtpd.conf that delivers to users needs  wrapper \"postseal\""},
		},
		checked: []part{{
			what: `wrapper "postseal" in an action of `, to: "/etc/smtpd.conf", shared: true,
			mark: regexp.MustCompile(`(?m)^\s*action\s.*wrapper\s+"?postseal"?`),
		}},
	},
	{
		Name: "courier", Title: "courier-mta",
		programs: []string{"sbin/courier"},
		recipe: recipe{
			parts: []part{
				before,
				sudoers,
				lines("courier/esmtpd", "/etc/courier/esmtpd", AtEnd, `^\s*NOADDRREWRITE=[12]`),
				lines("courier/courierd", "/etc/courier/courierd", AtEnd, named),
			},
			commands: []string{"systemctl restart courier courier-mta"},
			notes:    []string{"where DEFAULTDELIVERY is not ./Maildir, put yours into its last line; users with a ~/.courier add its first line there"},
		},
	},
	{
		Name: "dovecot", Title: "Dovecot with Pigeonhole", delivers: true,
		programs: []string{
			"lib/dovecot/modules/lib90_sieve_plugin.so", "lib64/dovecot/lib90_sieve_plugin.so", "lib/dovecot/lib90_sieve_plugin.so",
		},
		recipe: recipe{
			parts: []part{
				own("dovecot/postseal-again", "/usr/lib/postseal/postseal-again", 0o755),
				sudoers,
				newFile("dovecot/90-postseal.conf", "/etc/dovecot/conf.d/90-postseal.conf", "0644"),
				newFile("dovecot/postseal.sieve", "/etc/dovecot/sieve/postseal.sieve", "0644"),
				newFile("dovecot/postseal", "/etc/dovecot/sieve-bin/postseal", "0755"),
				newFile("dovecot/cron", "/etc/cron.d/postseal", "0644"),
			},
			commands: []string{"doveadm reload", "sievec /etc/dovecot/sieve/postseal.sieve"},
		},
	},
	{
		Name: "procmail", Title: "procmail", delivers: true, programs: []string{"bin/procmail"},
		recipe: recipe{parts: []part{sudoers, lines("procmail/etc-procmailrc", "/etc/procmailrc", AtEnd, named)}},
	},
	{
		Name: "maildrop", Title: "maildrop", delivers: true, programs: []string{"bin/maildrop"},
		recipe: recipe{parts: []part{sudoers, lines("maildrop/etc-maildroprc", "/etc/maildroprc", AtEnd, named)}},
	},
	{
		Name: "postfix-pipe", Title: "Postfix, through pipe(8)",
		recipe: recipe{
			parts: []part{
				deliver,
				newFile("postfix-pipe/postseal_header_checks", "/etc/postfix/postseal_header_checks", "0644"),
				shared(lines("postfix-pipe/main.cf", mainCF, AtEnd, named+"_")), // not the milter
				lines("postfix-pipe/master.cf", "/etc/postfix/master.cf", AtEnd, named),
			},
			commands: []string{"postfix reload"},
		},
	},
	{
		Name: "none", Title: "another program",
		recipe: recipe{notes: []string{"contrib/README.md has recipes for more mail servers, and for mailboxes on somebody else's"}},
	},
}

// Own are the programs from which a user can have his own mail handed over.
var Own = []*MailServer{
	{
		Name: "procmail", Title: "procmail", programs: []string{"bin/procmail"},
		recipe: recipe{parts: []part{atStart("procmail/procmailrc", "~/.procmailrc", "0644", named)}},
	},
	{
		Name: "maildrop", Title: "maildrop", programs: []string{"bin/maildrop"},
		recipe: recipe{parts: []part{atStart("maildrop/mailfilter", "~/.mailfilter", "0600", named)}},
	},
}

// signer is a program that signs mail with DKIM. Its recipe makes the signatures cover all
// fields of RFC 8823, Section 3.2, item 9.
type signer struct {
	name     string
	programs []string
	seen     func(*Machine) string // what shows that it sees replies
	filter   *regexp.Regexp        // matches it there
	recipe   recipe
}

var signers = []*signer{
	{
		name: "opendkim", programs: []string{"sbin/opendkim"}, seen: filters, filter: regexp.MustCompile(`dkim|:8891`),
		recipe: recipe{
			parts:    []part{signing(lines("postfix-opendkim/opendkim.conf", "/etc/opendkim.conf", AtEnd, ""), `^(Sign|Oversign)Headers .*\n`, "OversignHeaders")},
			commands: []string{"systemctl restart opendkim"},
		},
	},
	{
		name: "rspamd", programs: []string{"bin/rspamd"}, seen: filters, filter: regexp.MustCompile(`rspamd|:11332`),
		recipe: recipe{
			parts:    []part{signing(newFile("postfix-rspamd/dkim.conf", "/etc/rspamd/local.d/dkim.conf", "0644"), `(?s).*`, "sign_headers")},
			commands: []string{"systemctl restart rspamd"},
		},
	},
	{name: "amavis", programs: []string{"sbin/amavisd", "sbin/amavisd-new"}, seen: filters, filter: regexp.MustCompile(`amavis`)},
	{
		name: "Exim", programs: []string{"sbin/exim4", "sbin/exim"}, seen: eximConfig, filter: eximSigns,
		recipe: recipe{
			parts: []part{signing(newFile("exim/main", "/etc/exim4/conf.d/main/00_postseal", "0644"), `^DKIM_SIGN_HEADERS .*\n`, "DKIM_SIGN_HEADERS")},
		},
	},
}

// signing makes a part that of a signer. It is in place if a setting already names more than
// the usual fields.
func signing(p part, keep, setting string) part {
	p.keep = regexp.MustCompile("(?m)" + keep)
	p.mark = regexp.MustCompile(`(?mi)^\s*` + setting + `.*list-archive`)
	return p
}

var (
	itself = &signer{name: "postseal"}
	nobody = &signer{recipe: recipe{notes: []string{
		"no DKIM signer was found that sees replies: unless a relay signs them, let postseal: --dkim-key DOMAIN:SELECTOR:FILE",
	}}}
)

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

// path returns the path of the part. Without a home, it is one that does not exist.
func (p part) path(home string) string { return strings.Replace(p.to, "~", cmp.Or(home, "~"), 1) }
