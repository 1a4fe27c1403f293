package setup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Wiring is what is there of the recipe of a neighbour that runs postseal-pipe.
type Wiring struct {
	Neighbour  *Neighbour
	There      []string // files with lines of ours
	Missing    []string // what else the recipe needs
	Unreadable []string // files that could not be looked at
}

// Wired returns the neighbours whose recipe has been followed at least in part. home
// is that of a user whose own files count too, "" for nobody's. A recipe in a form of
// the admin's own counts: what is looked for is the name of postseal.
func (m *Machine) Wired(home string) (found []Wiring) {
	for _, n := range neighbours {
		if n.milter() || n.dir == "" {
			continue
		}
		for _, own := range []bool{false, true} {
			if w := m.wiring(n, own, home); len(w.There) > 0 {
				found = append(found, w)
			}
		}
	}
	return found
}

// wiring looks at one recipe. Whether it was followed, the lines say that are for this
// neighbour alone; a package may have brought the rest.
func (m *Machine) wiring(n *Neighbour, own bool, home string) Wiring {
	w := Wiring{Neighbour: n}
	lines := n.lines
	if own {
		lines = n.own
	}
	for _, a := range lines {
		path := a.to
		if rest, ok := strings.CutPrefix(path, "~/"); ok {
			if home == "" {
				continue
			}
			path = filepath.Join(home, rest)
		}
		text, err := os.ReadFile(m.at(path))
		shared := a == sudoers || a.to == mainCF
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			w.Unreadable = append(w.Unreadable, path)
		case !speaksOfUs(a, string(text)):
			w.Missing = append(w.Missing, path)
		case !shared:
			w.There = append(w.There, path)
		}
		if a == sudoers && !m.any([]string{"usr/bin/sudo", "usr/local/bin/sudo"}) {
			w.Missing = append(w.Missing, "sudo")
		}
	}
	if own {
		return w
	}
	for _, h := range n.helpers {
		if !exists(m.at(h.to)) {
			w.Missing = append(w.Missing, h.to)
		}
	}
	if n.Name == "opensmtpd" && len(w.There) > 0 && !m.contains("etc/smtpd.conf", smtpdAction) {
		w.Missing = append(w.Missing, `wrapper "postseal" in an action of /etc/smtpd.conf`)
	}
	return w
}

// smtpdAction is an action with the wrapper, which does nothing without.
var smtpdAction = regexp.MustCompile(`(?m)^\s*action\s.*wrapper\s+"?postseal"?`)

// speaksOfUs reports whether a file has a line of ours that is not a comment. In main.cf
// that of the milter is of another recipe.
func speaksOfUs(a addition, text string) bool {
	word := "postseal"
	if a.to == mainCF {
		word = "postseal_"
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.Contains(line, word) && line[0] != '#' {
			return true
		}
	}
	// The sieve script calls its program by another name.
	return a.place == NewFile && a != sudoers && text != ""
}

// signers are the programs that sign mail with DKIM, and words in their addresses.
var signers = []struct {
	name, program string
	words         []string
}{
	{"opendkim", "usr/sbin/opendkim", []string{"dkim", ":8891"}},
	{"rspamd", "usr/bin/rspamd", []string{"rspamd", ":11332"}},
	{"amavis", "usr/sbin/amavisd", []string{"amavis"}},
}

// Signs reports whether the address of a milter, or of a content filter, looks like that
// of a program that signs.
func Signs(address string) bool {
	for _, s := range signers {
		if hasOne(address, s.words) {
			return true
		}
	}
	return false
}

func hasOne(text string, words []string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}
