package setup

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postseal/contrib"
	"postseal/state"
)

// tree makes a root directory with files; a name that ends in / is a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Trees as Debian's and FreeBSD's packages make them.
var (
	debianPostfix   = map[string]string{"usr/sbin/postfix": "", "etc/postfix/main.cf": "", "usr/sbin/sendmail": ""}
	debianExim      = map[string]string{"usr/sbin/exim4": "", "usr/sbin/exim": "", "etc/exim4/update-exim4.conf.conf": "", "usr/sbin/sendmail": ""}
	debianSendmail  = map[string]string{"usr/sbin/sendmail-mta": "", "etc/mail/sendmail.mc": "", "usr/bin/procmail": ""}
	debianOpenSMTPD = map[string]string{"usr/sbin/smtpctl": "", "etc/smtpd.conf": "", "usr/bin/maildrop": ""}
	debianCourier   = map[string]string{"usr/sbin/courier": "", "etc/courier/courierd": "", "usr/sbin/sendmail": ""}
	debianDovecot   = map[string]string{"usr/lib/dovecot/modules/lib90_sieve_plugin.so": "", "etc/dovecot/dovecot.conf": ""}
	freeBSDPostfix  = map[string]string{"usr/local/sbin/postfix": "", "usr/local/etc/postfix/main.cf": ""}
)

func join(trees ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, tree := range trees {
		for name, content := range tree {
			all[name] = content
		}
	}
	return all
}

func TestFind(t *testing.T) {
	for name, c := range map[string]struct {
		files   map[string]string
		found   string // all
		choices string
		mine    string // what a user can set up
	}{
		"nothing":                 {nil, "", "", ""},
		"Postfix":                 {debianPostfix, "postfix", "postfix", ""},
		"Postfix on FreeBSD":      {freeBSDPostfix, "postfix", "postfix", ""},
		"Exim":                    {debianExim, "exim", "exim", ""},
		"Sendmail with procmail":  {debianSendmail, "sendmail procmail", "sendmail", "procmail"},
		"OpenSMTPD with maildrop": {debianOpenSMTPD, "opensmtpd maildrop", "opensmtpd", "maildrop"},
		"courier-mta":             {debianCourier, "courier", "courier", ""},
		"Dovecot behind Postfix":  {join(debianPostfix, debianDovecot), "postfix dovecot", "postfix", ""},
		"Dovecot alone":           {debianDovecot, "dovecot", "dovecot", ""},
		"two mail servers":        {join(debianPostfix, debianExim), "postfix exim", "postfix exim", ""},
		"removed, files are left": {map[string]string{"etc/postfix/main.cf": "", "etc/exim4/exim4.conf": ""}, "", "", ""},
		"program of another":      {map[string]string{"usr/sbin/sendmail": "", "etc/mail/sendmail.cf": ""}, "", "", ""},
		"two programs that deliver": {map[string]string{"usr/bin/procmail": "", "usr/bin/maildrop": ""}, "procmail maildrop",
			"procmail maildrop", "procmail maildrop"},
	} {
		t.Run(name, func(t *testing.T) {
			m := Find(tree(t, c.files))
			for what, pair := range map[string][2]string{
				"found": {names(m.Servers), c.found}, "choices": {names(m.Choices(Servers)), c.choices}, "personal": {names(m.Choices(Own)), c.mine},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
				}
			}
		})
	}
}

func byName(of []*MailServer, name string) *MailServer { return of[slices.Index(Names(of), name)] }

func names(all []*MailServer) string {
	return strings.Join(Names(all), " ")
}

func TestSigned(t *testing.T) {
	opendkim := map[string]string{"usr/sbin/opendkim": ""}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nobody":                     {debianPostfix, ""},
		"opendkim, not in Postfix":   {join(debianPostfix, opendkim), ""},
		"opendkim, for sendmail(1)":  {join(debianPostfix, opendkim, map[string]string{"etc/postfix/main.cf": "non_smtpd_milters = inet:localhost:8891, opendkim\n"}), ""},
		"opendkim":                   {join(debianPostfix, opendkim, map[string]string{"etc/postfix/main.cf": "dkim = unix:opendkim/opendkim.sock\nsmtpd_milters =\n\t$dkim\n"}), "opendkim"},
		"rspamd":                     {join(debianPostfix, map[string]string{"usr/bin/rspamd": "", "etc/postfix/main.cf": "smtpd_milters = inet:127.0.0.1:11332\n"}), "rspamd"},
		"a setting that is a circle": {join(debianPostfix, opendkim, map[string]string{"etc/postfix/main.cf": "smtpd_milters = $smtpd_milters\n"}), ""},
		"Sendmail":                   {join(debianSendmail, opendkim, map[string]string{"etc/mail/sendmail.mc": "dnl opendkim\nINPUT_MAIL_FILTER(`opendkim', `S=local:/run/opendkim')\n"}), "opendkim"},
		"Sendmail, only a comment":   {join(debianSendmail, opendkim, map[string]string{"etc/mail/sendmail.mc": "dnl opendkim\n"}), ""},
		"Exim as Debian brings it":   {join(debianExim, map[string]string{"etc/exim4/exim4.conf.template": ".ifdef DKIM_PRIVATE_KEY\ndkim_private_key = DKIM_PRIVATE_KEY\n.endif\n"}), ""},
		"Exim that signs":            {join(debianExim, map[string]string{"etc/exim4/conf.d/main/00_local": "DKIM_PRIVATE_KEY = /etc/k.pem\n"}), "Exim"},
	} {
		if got := Find(tree(t, c.files)).Signed(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// plan plans for a mail server on a tree.
func plan(t *testing.T, root string, o Options) *Plan {
	t.Helper()
	if o.Path == "" {
		o.Path = "/etc/postseal/postseal.toml"
	}
	if o.Bin == "" {
		o.Bin = "/usr/bin"
	}
	if o.State == nil {
		o.State = state.Open("/var/lib/postseal")
	}
	return Find(root).Plan(o)
}

// Each mail server's plan shows whole recipes, in the words of contrib, and commands from its
// README.
func TestRecipes(t *testing.T) {
	for _, n := range Servers {
		if n.recipe.parts == nil {
			continue
		}
		own := n.recipe.parts[len(n.recipe.parts)-1]
		readme, err := contrib.Recipes.ReadFile(path.Dir(own.from) + "/README.md")
		must(t, err)
		for _, command := range n.recipe.commands {
			if !strings.Contains(string(readme), command) {
				t.Errorf("%s: the README does not have %q", n.Name, command)
			}
		}
		root := tree(t, map[string]string{"usr/lib/systemd/system/": "", "run/systemd/system/": ""})
		for _, a := range slices.Concat(n.recipe.parts, n.units) {
			data, err := contrib.Recipes.ReadFile(a.from)
			must(t, err)
			if a.place == NewFile && !strings.Contains(string(data), a.to) {
				t.Errorf("%s says nothing of %s", a.from, a.to)
			}
		}
		for _, l := range plan(t, root, Options{Via: n}).Lines {
			if !inContrib(t, l.Text) {
				t.Errorf("%s: this is not in contrib:\n%s", n.Name, l.Text)
			}
		}
	}
}

// inContrib reports whether one of the recipes contains a text unchanged.
func inContrib(t *testing.T, text string) bool {
	found := false
	must(t, fs.WalkDir(contrib.Recipes, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := contrib.Recipes.ReadFile(name)
		found = found || strings.Contains(string(data), text)
		return err
	}))
	return found
}

// The plan does not ask again for what is in place, and does not write what a package
// brought.
func TestInPlace(t *testing.T) {
	root := tree(t, debianPostfix)
	o := Options{Via: byName(Servers, "postfix"), Config: Config{Listen: "unix:/x"}}
	first := plan(t, root, o)
	must(t, os.WriteFile(filepath.Join(root, mainCF), []byte("x = y\n"+first.Lines[0].Text), 0o644))
	if again := plan(t, root, o); len(again.Lines) > 0 {
		t.Errorf("it shows %+v", again.Lines)
	}

	packaged := join(debianSendmail, map[string]string{"run/systemd/system/": ""})
	for _, unit := range []string{"milter.service", "milter.socket", "renew.service", "renew.timer", "enroll.service", "enroll.timer", "failed@.service", "report@.service"} {
		packaged["usr/lib/systemd/system/postseal-"+unit] = ""
	}
	for _, s := range plan(t, tree(t, packaged), Options{Via: byName(Servers, "sendmail")}).Steps {
		if strings.HasPrefix(path.Base(s.What), "postseal-") && !strings.Contains(s.What, ".socket.d/") {
			t.Errorf("%s is written although a package has it", s.What)
		}
	}
}

// If systemd runs, it makes the socket, in a directory of root's; otherwise the milter does,
// in a directory of its own, and the mail server looks there.
func TestSocket(t *testing.T) {
	for _, c := range []struct {
		files                    map[string]string
		name, passed, own, lines string
	}{
		{debianPostfix, "postfix", "/var/spool/postfix/postseal", "/var/spool/postfix/postseal-milter", "unix:postseal-milter/milter.sock"},
		{debianSendmail, "sendmail", "/run/postseal", "/var/spool/postseal-milter", "local:/var/spool/postseal-milter/milter.sock"},
	} {
		for systemd, dir := range map[bool]string{true: c.passed, false: c.own} {
			files := join(c.files)
			if systemd {
				files["run/systemd/system/"] = ""
			}
			root := tree(t, files)
			p := plan(t, root, Options{Via: byName(Servers, c.name)})
			if got := Find(root).Listen(byName(Servers, c.name)); got != "unix:"+dir+"/milter.sock" {
				t.Errorf("%s, systemd %v: it listens at %s", c.name, systemd, got)
			}
			if made := slices.ContainsFunc(p.Steps, func(s Step) bool { return s.What == dir }); made == systemd {
				t.Errorf("%s, systemd %v: %s is made: %v", c.name, systemd, dir, made)
			}
			if text := p.Lines[len(p.Lines)-1].Text; strings.Contains(text, c.lines) == systemd {
				t.Errorf("%s, systemd %v: %s", c.name, systemd, text)
			}
		}
	}
}

// The plan names the programs where they are.
func TestBin(t *testing.T) {
	p := plan(t, tree(t, debianExim), Options{Via: byName(Servers, "procmail"), Bin: "/usr/local/bin"})
	text := ""
	for _, l := range p.Lines {
		text += l.Text
	}
	if !strings.Contains(text, "/usr/local/bin/postseal-pipe") || strings.Contains(text, " /usr/bin/postseal") {
		t.Error(text)
	}
}

// maildrop refuses a ~/.mailfilter that others can read.
func TestMode(t *testing.T) {
	p := plan(t, tree(t, nil), Options{Via: byName(Own, "maildrop"), Personal: true, Home: "/home/alice"})
	if len(p.Lines) != 1 || p.Lines[0].File != "/home/alice/.mailfilter" || p.Lines[0].Mode != "0600" {
		t.Errorf("%+v", p.Lines)
	}
}

// Each new file has a mode, and a signer's, too.
func TestNewFilesHaveModes(t *testing.T) {
	all := []recipe{}
	for _, n := range slices.Concat(Servers, Own) {
		all = append(all, n.recipe)
	}
	for _, s := range signers {
		all = append(all, s.recipe)
	}
	for _, r := range all {
		for _, a := range r.parts {
			if a.place == NewFile && a.mode == "" || a.place == AtEnd && a.mode != "" {
				t.Errorf("%s, place %s: mode %q", a.to, a.place, a.mode)
			}
		}
	}
}

// The plan lists missing fields for a signer, and leaves one alone that has them all.
func TestSignerLines(t *testing.T) {
	files := join(debianPostfix, map[string]string{
		"usr/sbin/opendkim": "", "etc/postfix/main.cf": "smtpd_milters = local:opendkim/opendkim.sock\n", "etc/opendkim.conf": "OversignHeaders From\n",
	})
	root := tree(t, files)
	o := Options{Via: byName(Servers, "postfix")}
	p := plan(t, root, o)
	n := slices.IndexFunc(p.Lines, func(l Lines) bool { return l.File == "/etc/opendkim.conf" })
	if n < 0 || !slices.Contains(p.Commands, "systemctl restart opendkim") {
		t.Fatalf("%+v %q", p.Lines, p.Commands)
	}
	must(t, os.WriteFile(filepath.Join(root, "etc/opendkim.conf"), []byte(p.Lines[n].Text), 0o644))
	if p := plan(t, root, o); slices.ContainsFunc(p.Lines, func(l Lines) bool { return l.File == "/etc/opendkim.conf" }) {
		t.Error("it is told again")
	}
	o.Config.DKIM = []DKIMKey{{"example.org", "s1", "/k.pem"}}
	if p := plan(t, tree(t, files), o); slices.ContainsFunc(p.Lines, func(l Lines) bool { return l.File == "/etc/opendkim.conf" }) {
		t.Error("postseal signs, and opendkim is told how")
	}
}

func TestSettings(t *testing.T) {
	s := parseSettings("# c\na = 1,\n  2\n\n # c\n\t3\nb=\nc = $a ${b}$(d)\nd = x\na2\n  y\n")
	if s.values["a"] != "1,\n    2\n    3" || s.values["b"] != "" || s.expanded("c") != s.values["a"]+" x" {
		t.Errorf("%q", s)
	}
	const recipe = "smtpd_milters = { unix:postseal/milter.sock }\nx_limit = 1\n"
	for have, want := range map[string]string{
		"":                             recipe,
		"smtpd_milters =":              recipe,
		"smtpd_milters = inet:a:1":     "smtpd_milters = inet:a:1, { unix:postseal/milter.sock }\nx_limit = 1\n",
		"smtpd_milters = inet:a:1, \n": "smtpd_milters = inet:a:1, { unix:postseal/milter.sock }\nx_limit = 1\n",
		recipe:                         "",
		"smtpd_milters = inet:a:1, unix:postseal/milter.sock":                        "x_limit = 1\n",
		"p = unix:postseal/milter.sock\nsmtpd_milters = inet:a:1, $p\nx_limit = 1\n": "",
	} {
		if got, _ := parseSettings(have).missing(recipe); got != want {
			t.Errorf("with %q: %q", have, got)
		}
	}
}
