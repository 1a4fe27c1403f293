package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// SMTP is the server that a value of --smtp names.
type SMTP struct {
	Scheme string // of the URL, or LMTP
	Host   string // the name that a certificate must have
	Addr   string // HOST:PORT, or the path of a socket
	User   string // "" for no login
}

// LMTP is the scheme of a unix socket.
const LMTP = "lmtp+unix"

// smtpPorts are the default ports, by scheme.
var smtpPorts = map[string]string{"smtp": "25", "smtp+starttls": "587", "smtps": "465"}

// ErrPassword is the error of a value of --smtp with a password.
var ErrPassword = errors.New("holds a password, and command lines are public")

// ParseSMTP reads a value of --smtp: smtp://HOST[:25], smtp+starttls://[USER@]HOST[:587],
// smtps://[USER@]HOST[:465] or lmtp+unix:PATH. A password does not belong in it.
func ParseSMTP(s string) (SMTP, error) {
	if path, ok := strings.CutPrefix(s, LMTP+":"); ok {
		if path == "" {
			return SMTP{}, fmt.Errorf("%q names no socket", s)
		}
		return SMTP{Scheme: LMTP, Host: "localhost", Addr: path}, nil
	}
	u, err := url.Parse(s)
	if failed := (*url.Error)(nil); errors.As(err, &failed) && strings.Contains(s, "@") {
		return SMTP{}, fmt.Errorf("not a URL: %w", failed.Err) // the URL may contain a password
	}
	if err != nil {
		return SMTP{}, fmt.Errorf("%q is not a URL", s)
	}
	port, ok := smtpPorts[u.Scheme]
	if !ok {
		return SMTP{}, fmt.Errorf("%q is not lmtp+unix:PATH, smtp://HOST, smtp+starttls://HOST or smtps://HOST", u.Redacted())
	}
	if _, has := u.User.Password(); has {
		return SMTP{}, fmt.Errorf("%q %w", u.Redacted(), ErrPassword)
	}
	if u.Host == "" || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return SMTP{}, fmt.Errorf("%q is not %s://HOST:PORT", s, u.Scheme)
	}
	addr := u.Host
	if u.Port() == "" && !strings.HasSuffix(addr, ":") {
		addr += ":" + port
	}
	if addr, err = Dial(addr); err != nil {
		return SMTP{}, err
	}
	return SMTP{Scheme: u.Scheme, Host: u.Hostname(), Addr: addr, User: u.User.Username()}, nil
}

// CheckName refuses an invalid name for EHLO, which takes a fully qualified name (RFC 5321,
// Section 2.3.5) or an address literal (Section 4.1.3).
func CheckName(name string) error {
	if literal, ok := strings.CutPrefix(name, "["); ok {
		literal, ok = strings.CutSuffix(literal, "]")
		v6, is6 := cutPrefixFold(literal, "IPv6:")
		ip, err := netip.ParseAddr(v6)
		if !ok || err != nil || ip.Is4() == is6 || ip.Zone() != "" {
			return fmt.Errorf("%q is not an address such as [192.0.2.1] or [IPv6:2001:db8::1]", name)
		}
		return nil
	}
	if err := CheckHost(name); err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("%q is an address, which goes in brackets: %s", name, Literal(ip))
	}
	if !strings.Contains(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "_") || strings.Contains(name+".", "-.") {
		return fmt.Errorf("%q is not a fully qualified name", name)
	}
	return nil
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

// Literal writes an address in the form that mail uses in place of a domain (RFC 5321,
// Section 4.1.3).
func Literal(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}
