package setup

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"postseal/contrib"
	"postseal/state"
)

// Options say what to prepare.
type Options struct {
	Neighbour *Neighbour
	Personal  bool   // for one user's own mail, by that user
	Home      string // of that user
	Config    Config
	Path      string // of the configuration file
	State     *state.Dir
	Redis     bool   // pending and answers are elsewhere, and the directory is the issuer's alone
	Bin       string // directory of the programs; "" for /usr/bin
}

// Plan is what there is to do: our part in steps, and the admin's.
type Plan struct {
	Steps    []Step
	Lines    []Lines
	Commands []string // to be run when the lines are in place
	Notes    []string // what to know, one line each
}

// Lines is text for a file of somebody else.
type Lines struct {
	File  string `json:"file"`
	Place Place  `json:"place"`
	Mode  string `json:"mode,omitempty"` // of a new file, octal
	Text  string `json:"text"`
}

// Plan says what there is to do on the machine. It changes nothing.
func (m *Machine) Plan(o Options) (*Plan, error) {
	p := &planner{Machine: m, o: o, Plan: Plan{Lines: []Lines{}, Commands: []string{}, Notes: []string{}}}
	if err := p.config(); err != nil {
		return nil, err
	}
	if o.Personal {
		p.add(m.stateStep(o.State, o.Redis))
		p.additions(o.Neighbour.own)
		return &p.Plan, nil
	}
	p.add(m.userStep(), m.stateStep(o.State, o.Redis))
	if o.Neighbour.milter() && !m.Running {
		p.add(m.socketStep(m.socketDir(o.Neighbour), o.Neighbour.socket.group))
	}
	for _, h := range o.Neighbour.helpers {
		p.helper(h)
	}
	p.units()
	if p.additions(o.Neighbour.lines); len(p.Lines) > 0 && o.Neighbour.note != "" {
		p.note("%s", o.Neighbour.note)
	}
	p.signer()
	p.commands()
	return &p.Plan, nil
}

// planner makes a Plan.
type planner struct {
	*Machine
	Plan
	o Options
}

func (p *planner) add(steps ...Step) { p.Steps = append(p.Steps, steps...) }

func (p *planner) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// Listen returns where postseal-milter is to listen, as --listen takes it; "" if it
// is not needed.
func (m *Machine) Listen(n *Neighbour) string {
	if !n.milter() {
		return ""
	}
	return "unix:" + filepath.Join(m.socketDir(n), socketName)
}

// socketDir is root's where systemd runs, which makes the socket and passes it.
func (m *Machine) socketDir(n *Neighbour) string {
	dir := n.socket.own
	if m.Running {
		dir = n.socket.passed
	}
	if n.Name == "postfix" {
		dir = filepath.Join(m.postfix.queue(), filepath.Base(dir))
	}
	return dir
}

// config writes the configuration file. One that is there is the admin's; where it
// says something else than what is asked for now, that goes beside it.
func (p *planner) config() error {
	path, content := p.o.Path, p.o.Config.Text()
	s := p.fileStep(path, "the configuration", content, 0o644)
	if s.Done {
		keys, err := p.o.Config.differs(p.at(path))
		if err != nil {
			return err
		}
		s.Why = "is there and stays as it is"
		if len(keys) > 0 {
			beside := path + ".new"
			p.add(s, Step{What: beside, Why: "what is asked for now; it differs in " + strings.Join(keys, ", "), Text: content,
				do: func() error { return state.WriteFile(beside, []byte(content), 0o644) }})
			return nil
		}
	} else {
		s.Text = content
	}
	p.add(s)
	return nil
}

// helper writes a file of the recipe that is postseal's own.
func (p *planner) helper(h helper) {
	if h.systemd && !p.Systemd {
		return
	}
	mode := fs.FileMode(h.mode)
	if mode == 0 {
		mode = 0o644
	}
	p.add(p.fileStep(h.to, "of the recipe contrib/"+p.o.Neighbour.dir, p.recipe(h.from), mode))
}

// unitDirs are where units of packages and of admins are.
var unitDirs = []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/usr/local/lib/systemd/system"}

// units writes those units that no package brought.
func (p *planner) units() {
	if !p.Systemd {
		return
	}
	names := []string{"postseal-renew.service", "postseal-renew.timer"}
	if p.o.Neighbour.milter() {
		names = append(names, "postseal-milter.service", "postseal-milter.socket")
	}
	for _, name := range names {
		found := false
		for _, dir := range unitDirs[1:] {
			found = found || exists(p.at(filepath.Join(dir, name)))
		}
		if !found {
			p.add(p.fileStep(filepath.Join(unitDirs[0], name), "a unit of systemd", p.recipe("systemd/"+name), 0o644))
		}
	}
	if p.o.State.Path() != state.SystemDir {
		p.note("the units may write to %s only: systemctl edit each, with ReadWritePaths=%s", state.SystemDir, p.o.State.Path())
	}
}

// recipe returns a file of contrib with the programs where they are.
func (p *planner) recipe(name string) string {
	data, err := contrib.Recipes.ReadFile(name)
	if err != nil {
		panic(err) // a test reads them all
	}
	return strings.ReplaceAll(string(data), "/usr/bin/postseal", filepath.Join("/", p.bin(), "postseal"))
}

func (p *planner) bin() string {
	if p.o.Bin == "" {
		return "/usr/bin"
	}
	return p.o.Bin
}

// additions are shown unless they are in place.
func (p *planner) additions(all []addition) {
	for _, a := range all {
		path := a.to
		if rest, ok := strings.CutPrefix(path, "~/"); ok {
			path = filepath.Join(p.o.Home, rest)
		}
		old, _ := os.ReadFile(p.at(path))
		lines := Lines{File: path, Place: a.place, Text: p.recipe(a.from)}
		if !p.Running {
			lines.Text = ownSocket.Replace(lines.Text)
		}
		switch {
		case a.place == NewFile:
			if string(old) == lines.Text {
				continue
			}
			if lines.Mode = "0644"; a.mode != 0 {
				lines.Mode = fmt.Sprintf("%04o", a.mode)
			}
		case a.to == mainCF:
			if lines = p.mainCF(lines); lines.Text == "" {
				continue
			}
		default:
			if lines.Text = uncommented(lines.Text); strings.Contains(string(old), lines.Text) {
				continue
			}
		}
		p.Lines = append(p.Lines, lines)
	}
}

// mainCF joins the lines with what Postfix is told already.
func (p *planner) mainCF(lines Lines) Lines {
	merged, replaced, all := p.postfix.merge(uncommented(lines.Text))
	if all {
		lines.Text = ""
		return lines
	}
	if lines.Text = merged; len(replaced) > 0 {
		lines.Place = Instead
	}
	return lines
}

// uncommented drops the comment on top of a recipe: it says what is done here.
func uncommented(text string) string {
	for {
		line, rest, _ := strings.Cut(text, "\n")
		if line != "" && line[0] != '#' && !strings.HasPrefix(line, "dnl ") {
			return text
		}
		if rest == "" {
			return text
		}
		text = rest
	}
}

// commands says what to run when the lines are in place.
func (p *planner) commands() {
	for _, k := range p.o.Config.DKIM {
		if !p.mailHalfReads(k.Key) {
			p.Commands = append(p.Commands, fmt.Sprintf("chgrp %s %s && chmod 640 %s", state.Group, k.Key, k.Key))
		}
	}
	milter := p.o.Neighbour.milter()
	switch {
	case p.Running:
		units := "postseal-renew.timer"
		if milter {
			units = "postseal-milter.socket " + units
		}
		p.Commands = append(p.Commands, "systemctl enable --now "+units) // has systemd read units again
	default:
		if milter {
			p.note("no systemd runs here: have %s/postseal-milter started as the user %s, as your other daemons are", p.bin(), state.Group)
		}
		p.note("and a line for cron: 17 3 * * * root %s/postseal renew -n --jitter 1h || [ $? -eq 2 ]", p.bin())
	}
	if len(p.Lines) > 0 {
		p.Commands = append(p.Commands, p.o.Neighbour.commands...)
	}
	if p.o.Neighbour.Name == None {
		p.note("contrib/README.md has recipes for more mail servers, and for mailboxes on somebody else's")
	}
}

// mailHalfReads reports whether a file is readable for the group of the mail half.
func (p *planner) mailHalfReads(path string) bool {
	info, err := os.Stat(p.at(path))
	return err != nil || info.Mode().Perm()&0o004 != 0 || groupOf(info) == p.gid(state.Group) && info.Mode().Perm()&0o040 != 0
}
