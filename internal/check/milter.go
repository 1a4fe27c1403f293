package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"postseal/internal/hostport"
)

// checkMilter connects to postseal-milter as a mail server does.
func (c *checker) checkMilter(ctx context.Context, r *report) {
	network, addr, err := c.milterAddr()
	switch {
	case err != nil:
		r.fail("for example: --milter unix:/var/spool/postfix/postseal/milter.sock", "--milter: %v", err)
		return
	case addr == "":
		r.skip("no milter is known (--milter): not looked at")
		return
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		explainDial(r, network, addr, err)
		return
	}
	defer conn.Close()
	context.AfterFunc(ctx, func() { conn.Close() })
	if network == "unix" {
		c.postfixReaches(r, addr)
	}
	talk(r, conn, addr)
}

// milterAddr returns what --milter or else Postfix says; "" if neither does.
func (c *checker) milterAddr() (network, addr string, err error) {
	if c.Milter != "" {
		return parseMilterAddr(c.Milter)
	}
	p, err := c.postfix()
	if err != nil {
		return "", "", nil //nolint:nilerr // said by the check of Postfix
	}
	if ours, found := p.ours("", ""); found {
		network, addr = p.socket(ours)
	}
	return network, addr, nil
}

// parseMilterAddr reads unix:PATH and inet:PORT@HOST, and inet:HOST:PORT as
// Postfix writes it.
func parseMilterAddr(s string) (network, addr string, err error) {
	if s == "" {
		return "", "", nil
	}
	kind, rest, _ := strings.Cut(s, ":")
	if kind == "unix" && rest != "" {
		return "unix", rest, nil
	}
	if port, host, ok := strings.Cut(rest, "@"); ok {
		rest, err = hostport.Join(host, port)
	}
	if err == nil {
		addr, err = hostport.Dial(rest)
	}
	if kind != "inet" || err != nil {
		return "", "", fmt.Errorf("%q is neither unix:PATH nor inet:PORT@HOST", s)
	}
	return "tcp", addr, nil
}

func explainDial(r *report, network, addr string, err error) {
	start := "start postseal-milter, with --listen for that address; under systemd: systemctl start postseal-milter.socket"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.fail(start, "there is no socket %s", addr)
	case errors.Is(err, syscall.ECONNREFUSED):
		r.fail(start, "nobody listens at %s", addr)
	case errors.Is(err, fs.ErrPermission):
		r.fail("the socket must belong to the group of the mail server, mode 0660, in a directory that this group may enter "+
			"(2750 postseal:postfix); or run this as root",
			"user %s may not connect to %s: %s", me(), addr, describe(firstBlocked(addr)))
	default:
		r.fail(start, "%s: %v", addr, root(err))
	}
}

// firstBlocked returns what keeps this process from a path: the last directory above
// it whose entries can be looked at, else the path itself.
func firstBlocked(path string) string {
	for _, dir := range above(path)[1:] {
		if _, err := os.Stat(dir); err != nil {
			return filepath.Dir(dir)
		}
	}
	if _, err := os.Stat(path); err != nil {
		return filepath.Dir(path)
	}
	return path
}

// postfixReaches looks whether smtpd may connect too: this program is often run by
// root, who may do everything.
func (c *checker) postfixReaches(r *report, path string) {
	p, err := c.postfix()
	if err != nil {
		return
	}
	owner, err := lookUpUser(p.owner)
	if err != nil {
		return
	}
	if at, err := owner.blocked(path, mayWrite); err == nil && at != "" {
		r.fail("the socket must belong to the group "+groupName(uint32(owner.gids[0]))+", mode 0660, in a directory that this group may enter",
			"Postfix (user %s) may not connect to %s: %s", p.owner, path, describe(at))
	}
}

// talk goes as far with the milter as with an ordinary message.
func talk(r *report, conn net.Conn, addr string) {
	m := &mta{conn: conn}
	if err := m.negotiate(); err != nil {
		r.fail("is postseal-milter what listens there?", "%s does not speak the milter protocol: %v", addr, silence(err))
		return
	}
	answer, err := m.ordinaryMail()
	if err != nil {
		r.fail("its log says more", "%s does not answer an ordinary message: %v", addr, silence(err))
		return
	}
	m.send(quitCode, "")
	switch {
	case m.actions != 0:
		r.warn("is postseal-milter what listens there?", "the milter at %s wants to change messages, which postseal-milter does not", addr)
	case answer == acceptCode:
		r.ok("%s speaks version %d and accepts ordinary mail at MAIL", addr, m.version)
	case answer == continueCode:
		r.ok("%s speaks version %d and looks at mail: a challenge is waited for", addr, m.version)
	default:
		r.fail("its log says why", "%s answers an ordinary message with %q", addr, answer)
	}
}

// silence says what the end of a connection means.
func silence(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it closed the connection")
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("it says nothing")
	}
	return err
}

// root returns the innermost error: the layers above it repeat the address.
func root(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
