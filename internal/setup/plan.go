package setup

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"regexp"
	"slices"
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

// Lines is text for a file of another program.
type Lines struct {
	File  string `json:"file"`
	Place Place  `json:"place"`
	Mode  string `json:"mode,omitempty"` // of a new file, octal
	Text  string `json:"text"`
}

// Plan returns the work to do on the machine. It changes nothing.
func (m *Machine) Plan(o Options) (*Plan, error) {
	p := &planner{m, o, Plan{
		Found: Names(m.Servers), Via: o.Via.Name, Signer: m.Signed(), DryRun: o.DryRun,
		Lines: []Lines{}, Commands: []string{}, Notes: []string{},
	}}
	if len(o.Config.DKIM) > 0 {
		p.Signer = "postseal"
	}
	err := p.config()
	if o.Personal {
		p.add(stateStep(o.State))
		p.parts(o.Via.parts(true))
	} else {
		p.machine()
	}
	return &p.Plan, err
}

// planner makes a Plan.
type planner struct {
	*Machine
	o Options
	Plan
}

func (p *planner) add(steps ...Step) { p.Steps = append(p.Steps, steps...) }

func (p *planner) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// machine prepares the machine for all its mail.
func (p *planner) machine() {
	p.add(userStep(), stateStep(p.o.State))
	files := slices.Concat(p.o.Via.parts(false), issuerUnits)
	if p.Systemd && !p.has([]string{"lib/systemd/system/postseal-report@.service"}) {
		files = append(files, mailed)
	}
	if p.o.Via.milter() {
		files = append(files, milterUnits...)
		if !p.Running {
			p.add(p.socketStep(p.socketDir(p.o.Via), p.o.Via.socket.group))
		}
	}
	p.parts(files)
	if p.Systemd && p.o.State.Path() != state.SystemDir {
		p.note("the units may write to %s only: systemctl edit each, with ReadWritePaths=%s", state.SystemDir, p.o.State.Path())
	}
	if p.o.Via.note != "" && (len(p.Lines) > 0 || p.o.Via.recipe == nil) {
		p.note("%s", p.o.Via.note)
	}
	if len(p.o.Config.DKIM) == 0 {
		p.signer()
	}
	p.commands()
}

// Listen returns the address for postseal-milter, in the form of --listen, or "" if no milter
// is needed.
func (m *Machine) Listen(s *MailServer) string {
	if !s.milter() {
		return ""
	}
	return "unix:" + m.socketDir(s) + "/milter.sock"
}

// socketDir is root's if systemd runs, since that makes the socket and passes it on.
func (m *Machine) socketDir(s *MailServer) string {
	dir := s.socket.own
	if m.Running {
		dir = s.socket.passed
	}
	return strings.Replace(dir, defaultQueue, m.postfix.queue(), 1)
}

// config writes the configuration file. An existing file is the admin's; if it differs from
// the answers, the new one goes beside it.
func (p *planner) config() error {
	path, content := p.o.Path, p.o.Config.Text()
	s := p.fileStep(path, "the configuration", content, 0o644)
	if s.Status != Kept {
		s.Text = content
		p.add(s)
		return nil
	}
	s.Detail = "is there and stays as it is"
	p.add(s)
	keys, err := p.o.Config.differs(p.at(path))
	if len(keys) > 0 {
		beside := path + ".new"
		s := newStep(beside, "what is asked for now; it differs in "+strings.Join(keys, ", "), false,
			func() error { return state.WriteFile(beside, []byte(content), 0o644) })
		s.Text = content
		p.add(s)
	}
	return err
}

// recipe returns a file of contrib with the programs' real paths.
func (p *planner) recipe(name string) string {
	data, err := contrib.Recipes.ReadFile(name)
	if err != nil {
		panic(err) // a test reads all of them
	}
	return strings.ReplaceAll(string(data), "/usr/bin/postseal", p.o.Bin+"/postseal")
}

// parts makes steps of the recipe's files that are postseal's own, and shows the rest. It
// leaves out what a package has brought and what is already in place.
func (p *planner) parts(files []part) {
	for _, f := range files {
		unit, isUnit := strings.CutPrefix(f.to, unitDir)
		switch {
		case f.place == byHand:
		case f.place != ours:
			p.show(f, p.recipe(f.from))
		case !isUnit || p.Systemd && !p.has([]string{"lib/systemd/system/" + unit}):
			p.add(p.fileStep(f.to, "from contrib/"+f.from, p.recipe(f.from), cmp.Or(f.mode, 0o644)))
		}
	}
}

// topComment is a recipe's comment above its lines, which the plan makes superfluous.
var topComment = regexp.MustCompile(`\A((#|dnl ).*\n|\n)*`)

// show shows lines unless they are already in place.
func (p *planner) show(f part, text string) {
	lines := Lines{File: f.path(p.o.Home), Place: f.place, Text: text}
	if !p.Running {
		lines.Text = ownSocket.Replace(lines.Text)
	}
	if f.place == NewFile {
		lines.Mode = fmt.Sprintf("%04o", cmp.Or(f.mode, 0o644))
	} else {
		lines.Text = topComment.ReplaceAllString(lines.Text, "")
	}
	if f.to == mainCF {
		lines.Text, lines.Place = p.postfix.missing(lines.Text)
	}
	if !strings.Contains(p.read(lines.File), lines.Text) {
		p.Lines = append(p.Lines, lines)
	}
}

// signer shows the lines for a DKIM signer, unless a setting already names more than the
// usual fields, and says so if no signer is known.
func (p *planner) signer() {
	for _, s := range p.signers() {
		there := regexp.MustCompile(`(?mi)^\s*` + s.setting + `.*list-archive`)
		if s.keep != nil && !there.MatchString(p.read(s.lines.to)) {
			p.show(s.lines, strings.Join(s.keep.FindAllString(p.recipe(s.lines.from), -1), ""))
			p.Commands = append(p.Commands, s.restart...)
		}
	}
	if p.Signed() == "" {
		p.note("no DKIM signer was found that sees replies: unless a relay signs them, let postseal: --dkim-key DOMAIN:SELECTOR:FILE")
	}
}

// commands lists the commands to run after adding the lines.
func (p *planner) commands() {
	for _, k := range p.o.Config.DKIM {
		if !mailHalfReads(p.at(k.Key)) {
			p.Commands = append(p.Commands, fmt.Sprintf("chgrp %s %s && chmod 640 %s", state.Group, k.Key, k.Key))
		}
	}
	units := "postseal-renew.timer"
	if p.o.Via.milter() {
		units = "postseal-milter.socket " + units
	}
	if p.Running {
		p.Commands = append(p.Commands, "systemctl enable --now "+units) // makes systemd read units again
	} else {
		if p.o.Via.milter() {
			p.note("no systemd runs here: have %s/postseal-milter started as the user %s, as your other daemons are", p.o.Bin, state.Group)
		}
		p.note("and a line for cron: 17 3 * * * root %s/postseal renew -n --jitter 1h || [ $? -eq 2 ]", p.o.Bin)
	}
	if len(p.Lines) > 0 {
		p.Commands = append(p.Commands, p.o.Via.commands...)
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
