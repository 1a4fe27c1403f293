package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// postfix is the part of Postfix's configuration that concerns us.
type postfix struct {
	queueDir      string
	owner         string // user of smtpd
	defaultAction string // of milters without their own
	protocol      string
	milters       []milterConf // smtpd_milters
	nonSMTPD      []milterConf // non_smtpd_milters
	services      []smtpService
}

// milterConf is one milter of a list.
type milterConf struct {
	addr   string // in Postfix's form: unix:PATH or inet:HOST:PORT
	action string // its own default_action, or ""
}

// smtpService is an smtpd in master.cf.
type smtpService struct {
	name    string
	chroot  bool
	milters string // its own smtpd_milters, or ""
}

// errNoPostfix means that there is no postconf.
var errNoPostfix = errors.New("there is no postconf")

// postconfTime bounds one call: postconf reads two files.
const postconfTime = 3 * time.Second

// askPostfix asks postconf, with the configuration in the directory conf, or Postfix's own if
// conf is "".
func askPostfix(ctx context.Context, conf string) (*postfix, error) {
	program, err := findPostconf()
	if err != nil {
		return nil, err
	}
	ask := func(args ...string) ([]string, error) { return runPostconf(ctx, program, conf, args) }
	values, err := ask("-h", "-x", "queue_directory", "mail_owner", "milter_default_action", "milter_protocol",
		"smtpd_milters", "non_smtpd_milters")
	if err != nil {
		return nil, err
	}
	if len(values) < 6 {
		return nil, fmt.Errorf("postconf -h said %d lines", len(values))
	}
	services, err := ask("-M")
	if err != nil {
		return nil, err
	}
	return &postfix{
		queueDir: values[0], owner: values[1], defaultAction: values[2], protocol: values[3],
		milters: parseMilters(values[4]), nonSMTPD: parseMilters(values[5]), services: parseServices(services),
	}, nil
}

// findPostconf also searches directories that the PATH of a user often lacks.
func findPostconf() (string, error) {
	for _, name := range []string{"postconf", "/usr/sbin/postconf", "/usr/local/sbin/postconf"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoPostfix
}

func runPostconf(ctx context.Context, program, conf string, args []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, postconfTime)
	defer cancel()
	if conf != "" {
		args = append([]string{"-c", conf}, args...)
	}
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		if line, _, _ := strings.Cut(stderr.String(), "\n"); line != "" {
			err = errors.New(line)
		}
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), nil
}

// milterItem is one of smtpd_milters; options after its address are within braces.
var milterItem = regexp.MustCompile(`{[^}]*|[^,\s{}]+`)

// parseMilters reads a list such as "inet:localhost:11332, { unix:a/b, default_action=accept }".
func parseMilters(list string) (all []milterConf) {
	for _, item := range milterItem.FindAllString(list, -1) {
		words := strings.FieldsFunc(item, func(r rune) bool { return strings.ContainsRune("{, \t", r) })
		if len(words) == 0 {
			continue
		}
		m := milterConf{addr: words[0]}
		for _, word := range words[1:] {
			if action, ok := strings.CutPrefix(word, "default_action="); ok {
				m.action = action
			}
		}
		all = append(all, m)
	}
	return all
}

// parseServices picks the SMTP servers out of "postconf -M": name, type, private,
// unprivileged, chroot, wakeup, processes, command and arguments.
func parseServices(lines []string) (found []smtpService) {
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 8 || f[7] != "smtpd" {
			continue
		}
		s := smtpService{name: f[0], chroot: f[4] == "y"}
		if _, own, ok := strings.Cut(line, "smtpd_milters="); ok {
			s.milters = strings.Fields(own + " -")[0]
		}
		found = append(found, s)
	}
	return found
}

// socket returns the path or HOST:PORT of a milter for an smtpd without chroot: unix: is
// relative to the queue directory.
func (p *postfix) socket(m milterConf) (network, addr string) {
	if path, ok := strings.CutPrefix(m.addr, "unix:"); ok {
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.queueDir, path)
		}
		return "unix", path
	}
	return "tcp", strings.TrimPrefix(m.addr, "inet:")
}

// ours returns postseal's milter: the one at the given address, or else the one with that
// name in its address in Postfix.
func (p *postfix) ours(network, addr string) (milterConf, bool) {
	for _, m := range p.milters {
		n, a := p.socket(m)
		named := addr == "" && strings.Contains(m.addr, "postseal") && !isSigner(m)
		if named || addr != "" && n == network && sameAddr(a, addr) {
			return m, true
		}
	}
	return milterConf{}, false
}

// sameAddr compares two paths or two HOST:PORTs.
func sameAddr(a, b string) bool {
	loopback := strings.NewReplacer("localhost:", "127.0.0.1:", "[::1]:", "127.0.0.1:")
	if loopback.Replace(a) == loopback.Replace(b) {
		return true
	}
	realA, errA := filepath.EvalSymlinks(a)
	realB, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && realA == realB
}

// action returns Postfix's action when a milter fails.
func (p *postfix) action(m milterConf) string {
	return cmp.Or(m.action, p.defaultAction)
}
