package setup

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"postseal/contrib"
	"postseal/state"
)

// Options say what to prepare.
type Options struct {
	Via      *MailServer
	Personal bool   // for one user's own mail, by that user
	Home     string // of that user
	Config   Config
	Path     string // of the configuration file
	State    *state.Dir
	Bin      string // directory of the programs
	DryRun   bool
}

// Plan is the work to do: ours in steps, and the admin's. Its names in JSON are stable.
type Plan struct {
	Found    []string `json:"found"`
	Via      string   `json:"via"`
	Signer   string   `json:"signer"` // of replies: a name, "postseal", or "" if none is known
	DryRun   bool     `json:"dry_run"`
	Steps    []Step   `json:"steps"`
	Lines    []Lines  `json:"lines"`    // to add by hand
	Commands []string `json:"commands"` // to run after adding the lines
	Notes    []string `json:"notes"`    // what the admin should know, one line each
}

// Step is one change to the machine.
type Step struct {
	What   string `json:"what"` // a file, a directory, a user
	Status Status `json:"status"`
	Detail string `json:"detail"`         // its purpose, or why it stays as it is
	Text   string `json:"text,omitempty"` // the configuration to write

	do func() error
}

// Status is the state of a step.
type Status string

// A step that is not Kept starts as Would.
const (
	Made  Status = "made"
	Would Status = "would make"
	Kept  Status = "kept"
)

// Lines is text for a file of another program.
type Lines struct {
	File  string `json:"file"`
	Place Place  `json:"place"`
	Mode  string `json:"mode,omitempty"` // of a new file, octal
	Text  string `json:"text"`
}

// Plan returns the work to do on the machine. It changes nothing.
func (m *Machine) Plan(o Options) *Plan {
	signers := m.signers(o.Config.DKIM)
	o.Config.Listen = m.Listen(o.Via)
	p := &planner{m, o, Plan{
		Found: Names(m.Servers), Via: o.Via.Name, Signer: signers[0].name, DryRun: o.DryRun,
		Lines: []Lines{}, Commands: []string{}, Notes: []string{},
	}}
	p.config()
	if o.Personal {
		p.state()
		p.follow(o.Via.recipe)
		return &p.Plan
	}
	p.user()
	p.state()
	p.keys()
	p.service()
	p.follow(o.Via.recipe)
	for _, s := range signers {
		p.follow(s.recipe)
	}
	return &p.Plan
}

// planner makes a Plan.
type planner struct {
	*Machine
	o Options
	Plan
}

func (p *planner) add(done bool, s Step) {
	s.Status = Would
	if done {
		s.Status, s.Text = Kept, ""
	}
	p.Steps = append(p.Steps, s)
}

func (p *planner) command(format string, args ...any) {
	p.Commands = append(p.Commands, fmt.Sprintf(format, args...))
}

func (p *planner) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// config writes the configuration file. An existing file is the admin's; if it differs from
// the answers, the new one goes beside it.
func (p *planner) config() {
	path, text := p.o.Path, p.o.Config.Text()
	p.file(Step{What: path, Detail: "the configuration", Text: text}, text, 0o644)
	if keys := p.o.Config.differs(p.at(path)); len(keys) > 0 {
		beside := path + ".new"
		p.add(false, Step{
			What: beside, Detail: "what is asked for now; it differs in " + strings.Join(keys, ", "), Text: text,
			do: func() error { return state.WriteFile(beside, []byte(text), 0o644) },
		})
	}
}

// user makes the user and the group of the mail half.
func (p *planner) user() {
	_, noUser := user.Lookup(state.Group)
	_, noGroup := user.LookupGroup(state.Group)
	p.add(noUser == nil && noGroup == nil, Step{
		What: "user and group " + state.Group, Detail: "the mail half, which owns nothing",
		do: func() error { return run("sh", "-c", makeUser) },
	})
}

// makeUser uses the system's own program. The group may exist already.
const makeUser = `
PATH=$PATH:/usr/sbin:/sbin
there() { command -v "$1" >/dev/null; }
comment='ACME mail challenges' shell=/usr/sbin/nologin
if there useradd; then groupadd -f -r postseal && useradd -r -M -g postseal -d /var/lib/postseal -s $shell -c "$comment" postseal
elif there systemd-sysusers; then systemd-sysusers --inline "u postseal - '$comment' /var/lib/postseal $shell"
elif there pw; then pw useradd postseal -d /nonexistent -s $shell -c "$comment"
else echo "there is no program that makes users (useradd, systemd-sysusers, pw)"; exit 1
fi`

// run runs a program. If it fails, the error is the first line of its output.
func run(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s: %w: %s", args[0], err, line)
	}
	return nil
}

// state makes the state directory. It repairs one that an earlier "postseal cert" made without
// the group of the mail half.
func (p *planner) state() {
	dir, detail := p.o.State, "the state directory"
	if dir.Private {
		detail = "accounts, orders and certificates; the rest is in Redis"
	}
	missing, wrong := dir.Missing(), dir.Misplaced()
	if len(wrong) > 0 {
		detail += ", which the mail half cannot use as it is: " + strings.Join(wrong, ", ")
	}
	p.add(len(missing)+len(wrong) == 0, Step{What: dir.Path(), Detail: detail, do: func() error {
		if _, err := dir.Create(); err != nil {
			return err
		}
		return dir.Repair()
	}})
}

// keys names commands for keys that the mail half cannot read.
func (p *planner) keys() {
	for _, k := range p.o.Config.DKIM {
		if !mailHalfReads(p.at(k.Key)) {
			p.command("chgrp %s %s && chmod 640 %[2]s", state.Group, k.Key)
		}
	}
}

// mailHalfReads reports whether the group of the mail half can read a file.
func mailHalfReads(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&0o004 != 0 {
		return true
	}
	stat, _ := info.Sys().(*syscall.Stat_t)
	group, err := user.LookupGroup(state.Group)
	return err == nil && info.Mode()&0o040 != 0 && group.Gid == strconv.Itoa(int(stat.Gid))
}

// service has the programs started: by systemd, which also makes the milter's socket and
// passes it on, or by what the admin uses instead.
func (p *planner) service() {
	via := p.o.Via
	if p.Systemd {
		p.parts(issuerUnits)
		p.parts(via.units)
	}
	if p.Running {
		p.command("systemctl enable --now %spostseal-renew.timer", via.enable) // makes systemd read units again
		if dir := p.o.State.Path(); dir != state.SystemDir {
			p.note("the units may write to %s only: systemctl edit each, with ReadWritePaths=%s", state.SystemDir, dir)
		}
		return
	}
	if via.group != "" {
		dir := filepath.Dir(strings.TrimPrefix(p.Listen(via), "unix:"))
		p.add(p.has(dir), Step{What: dir, Detail: "for the milter's socket", do: func() error {
			// What is made in it belongs to the group of the mail server.
			return run("install", "-d", "-o", state.Group, "-g", via.group, "-m", "2750", dir)
		}})
		p.note("no systemd runs here: have %s/postseal-milter started as the user %s, as your other daemons are", p.o.Bin, state.Group)
	}
	p.note("a line for cron, since no systemd runs here: 17 3 * * * root %s/postseal renew -n --jitter 1h || [ $? -eq 2 ]", p.o.Bin)
}

// follow does what a recipe leaves to us, and shows the rest. Without new lines no program has
// to read them.
func (p *planner) follow(r recipe) {
	before := len(p.Lines)
	p.parts(r.parts)
	if len(p.Lines) > before {
		p.Commands = append(p.Commands, r.commands...)
	}
	p.Notes = append(p.Notes, r.notes...)
}

// parts makes steps of the files that are postseal's own, unless a package has brought them,
// and shows the rest.
func (p *planner) parts(files []part) {
	for _, f := range files {
		switch {
		case f.place != ours:
			p.show(f)
		case !p.has(f.packaged...):
			p.file(Step{What: f.to, Detail: "from contrib/" + f.from}, p.text(f), f.perm)
		}
	}
}

// text returns the lines of a part, with the programs' and the socket's real paths.
func (p *planner) text(f part) string {
	data, _ := contrib.Recipes.ReadFile(f.from) // a test reads all of them
	paths := []string{"/usr/bin/postseal", p.o.Bin + "/postseal"}
	if !p.Running {
		paths = append(paths, ownSocket...)
	}
	return strings.NewReplacer(paths...).Replace(strings.Join(f.keep.FindAllString(string(data), -1), ""))
}

// show shows lines unless they are already in place.
func (p *planner) show(f part) {
	lines := Lines{File: f.path(p.o.Home), Place: f.place, Mode: f.mode, Text: p.text(f)}
	switch {
	case f.to == mainCF:
		lines.Text, lines.Place = p.postfix.missing(lines.Text)
	case f.mark.MatchString(p.read(lines.File)):
		lines.Text = ""
	}
	if lines.Text != "" {
		p.Lines = append(p.Lines, lines)
	}
}

// file makes a file that is postseal's own. An existing one stays.
func (p *planner) file(s Step, text string, perm fs.FileMode) {
	old, err := os.ReadFile(p.at(s.What))
	if err == nil && string(old) != text {
		s.Detail = "is there, in a form of its own"
	}
	s.do = func() error {
		if err := os.MkdirAll(filepath.Dir(s.What), 0o755); err != nil {
			return err
		}
		return state.CreateFile(s.What, []byte(text), perm)
	}
	p.add(err == nil, s)
}

// Do does the step unless it is done. Others may read the result, whatever the umask, unless
// the step says otherwise.
func (s *Step) Do() error {
	if s.Status == Kept {
		return nil
	}
	defer syscall.Umask(syscall.Umask(0o022))
	if err := s.do(); err != nil {
		return fmt.Errorf("%s: %w", s.What, state.Cause(err))
	}
	s.Status, s.Text = Made, ""
	return nil
}
