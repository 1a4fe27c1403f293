package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/failure"
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
		explainDial(r, addr, err)
		return
	}
	defer conn.Close()
	context.AfterFunc(ctx, func() { conn.Close() })
	if network == "unix" {
		c.postfixReaches(r, addr)
	}
	talk(r, conn, addr)
}

// milterAddr returns the address in --milter or in Postfix, or "".
func (c *checker) milterAddr() (network, addr string, err error) {
	if c.Milter != "" {
		return parseMilterAddr(c.Milter)
	}
	p, err := c.postfix()
	if err != nil {
		return "", "", nil //nolint:nilerr // the check of Postfix says so
	}
	if ours, found := p.ours("", ""); found {
		network, addr = p.socket(ours)
	}
	return network, addr, nil
}

// parseMilterAddr reads unix:PATH and inet:PORT@HOST, and Postfix's inet:HOST:PORT.
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

func explainDial(r *report, addr string, err error) {
	start := "start postseal-milter, with --listen for that address; under systemd: systemctl start postseal-milter.socket"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.fail(start, "there is no socket %s", addr)
	case errors.Is(err, syscall.ECONNREFUSED):
		r.fail(start, "nobody listens at %s", addr)
	case errors.Is(err, fs.ErrPermission):
		at := addr
		if user, err := lookUpUser(me()); err == nil {
			if dir, _ := user.blocked(addr, mayWrite); dir != "" {
				at = dir
			}
		}
		r.fail("the socket must belong to the group of the mail server, mode 0660, in a directory that this group may enter "+
			"(2750 postseal:postfix); or run this as root",
			"user %s may not connect to %s: %s", me(), addr, describe(at))
	default:
		r.fail(start, "%s: %v", addr, failure.Root(err))
	}
}

// postfixReaches checks whether smtpd may connect too: this program often runs as root, who
// may do everything.
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
		r.fail("the socket must belong to the group "+owner.group()+", mode 0660, in a directory that this group may enter",
			"Postfix (user %s) may not connect to %s: %s", p.owner, path, describe(at))
	}
}

// milterStep bounds each reply, as command_timeout in our recipe for Postfix does.
const milterStep = 5 * time.Second

// opened is an open connection for the library's client, which would otherwise make its own.
type opened struct{ net.Conn }

func (o opened) Dial(string, string) (net.Conn, error) { return o.Conn, nil }

// What Postfix offers: all actions and all steps of version 6.
const (
	allActions = milter.OptAction(0x1ff)
	allSteps   = milter.OptProtocol(0x1fffff)
)

// talk talks to the milter as about an ordinary message.
func talk(r *report, conn net.Conn, addr string) {
	session, err := milter.NewClientWithOptions("", "", milter.ClientOptions{
		Dialer: opened{conn}, ReadTimeout: milterStep, WriteTimeout: milterStep, ActionMask: allActions, ProtocolMask: allSteps,
	}).Session()
	if err != nil {
		r.fail("is postseal-milter what listens there?", "%s does not speak the milter protocol: %v", addr, silence(err))
		return
	}
	answer, err := ordinaryMail(session)
	if err != nil {
		r.fail("its log says more", "%s does not answer an ordinary message: %v", addr, silence(err))
		return
	}
	_ = session.Close() // the result is known
	switch {
	case session.ActionOpts != 0:
		r.warn("is postseal-milter what listens there?", "the milter at %s wants to change messages, which postseal-milter does not", addr)
	case answer == milter.ActAccept:
		r.ok("%s speaks version 6 and accepts ordinary mail at MAIL", addr)
	case answer == milter.ActContinue:
		r.ok("%s speaks version 6 and looks at mail: a challenge is waited for", addr)
	default:
		r.fail("its log says why", "%s answers an ordinary message with %q", addr, answer)
	}
}

// ordinaryMail goes as far as MAIL and returns the reply to it, or an earlier one that ends
// the message.
func ordinaryMail(s *milter.ClientSession) (milter.ActionCode, error) {
	answer, err := s.Conn("localhost", milter.FamilyInet, 25, "127.0.0.1")
	if err == nil && answer.Code == milter.ActContinue {
		answer, err = s.Helo("localhost")
	}
	if err == nil && answer.Code == milter.ActContinue {
		answer, err = s.Mail("postseal-check@localhost", nil)
	}
	if err != nil {
		return 0, err
	}
	return answer.Code, nil
}

// silence explains the end of a connection.
func silence(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it closed the connection")
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("it says nothing")
	}
	return err
}
