package setup

import (
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// signer shows what a signer has to be told so that its signatures cover all fields
// of RFC 8823, Section 3.2, item 9, and says so where nobody is known to sign.
func (p *planner) signer() {
	if len(p.o.Config.DKIM) > 0 {
		return
	}
	for _, s := range p.Signers {
		switch {
		case !s.Wired:
		case s.Name == "opendkim":
			p.signerLines("/etc/opendkim.conf", AtEnd, p.prefixed("postfix-opendkim/opendkim.conf", "SignHeaders", "OversignHeaders"), "OversignHeaders")
		case s.Name == "rspamd":
			p.signerLines("/etc/rspamd/local.d/dkim.conf", NewFile, p.recipe("postfix-rspamd/dkim.conf"), "sign_headers")
		case s.Name == "Exim":
			p.signerLines("/etc/exim4/conf.d/main/00_postseal", NewFile, p.prefixed("exim/main", "DKIM_SIGN_HEADERS"), "DKIM_SIGN_HEADERS")
		}
	}
	if p.Signed() == "" {
		p.note("no DKIM signer was found that sees replies: unless a relay signs them, let postseal: --dkim-key DOMAIN:SELECTOR:FILE")
	}
}

// restarts are the commands after which a signer knows.
var restarts = map[string]string{"/etc/opendkim.conf": "systemctl restart opendkim", "/etc/rspamd/local.d/dkim.conf": "systemctl restart rspamd"}

// signerLines shows a setting unless the file has one that names more than the usual
// fields.
func (p *planner) signerLines(file string, place Place, text, setting string) {
	data, _ := os.ReadFile(p.at(file))
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(strings.TrimSpace(line), setting) && strings.Contains(strings.ToLower(line), "list-archive") {
			return
		}
	}
	lines := Lines{File: file, Place: place, Text: text}
	if place == NewFile {
		lines.Mode = "0644"
	}
	p.Lines = append(p.Lines, lines)
	if restart := restarts[file]; restart != "" {
		p.Commands = append(p.Commands, restart)
	}
}

// prefixed returns the lines of a recipe that begin with one of the words.
func (p *planner) prefixed(name string, words ...string) string {
	var kept strings.Builder
	for line := range strings.Lines(p.recipe(name)) {
		for _, word := range words {
			if strings.HasPrefix(line, word+" ") {
				kept.WriteString(line)
			}
		}
	}
	return kept.String()
}

func groupOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Gid)
	}
	return -1
}

// gid returns the number of a group of the machine, -2 if there is none.
func (m *Machine) gid(name string) int {
	data, _ := os.ReadFile(m.at("etc/group"))
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[0] == name {
			if gid, err := strconv.Atoi(f[2]); err == nil {
				return gid
			}
		}
	}
	return -2
}
