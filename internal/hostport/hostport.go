// Package hostport reads the address of a server, HOST:PORT or a URL of --smtp, wherever an
// admin writes one. A value that can never work is an error when it is read, not at the first
// challenge.
//
// HOST is a name or an address. An IPv6 address needs brackets (RFC 3986, Section 3.2.2),
// since "::1:53" is an address, too.
package hostport

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxName bounds a name in the DNS, in bytes (RFC 1035, Section 2.3.4).
const maxName = 253

// Dial reads HOST:PORT of a server to connect to. It returns the form that package net
// expects.
func Dial(s string) (string, error) {
	host, port, err := split(s)
	if err != nil {
		return "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q is not HOST:PORT: a port is a number from 1 to 65535", s)
	}
	return Join(host, port)
}

// Listen reads HOST:PORT to listen at: HOST may be empty, which means all
// addresses, and port 0 means any port.
func Listen(s string) (string, error) {
	host, port, err := split(s)
	if err != nil {
		return "", err
	}
	if host == "" {
		host = "::"
		addr, err := Join(host, port)
		return strings.TrimPrefix(addr, "[::]"), err
	}
	return Join(host, port)
}

func split(s string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(s)
	ip, bad := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	switch {
	case err != nil && bad == nil && ip.Is6():
		return "", "", fmt.Errorf("%q is not HOST:PORT: write [%s]:PORT", s, ip)
	case err != nil && strings.Count(s, ":") > 1 && !strings.Contains(s, "["):
		return "", "", fmt.Errorf("%q is not HOST:PORT: an IPv6 address goes in brackets", s)
	case err != nil:
		return "", "", fmt.Errorf("%q is not HOST:PORT", s)
	case strings.HasPrefix(s, "[") && !strings.Contains(host, ":"):
		return "", "", fmt.Errorf("%q is not HOST:PORT: only an IPv6 address goes in brackets", s)
	}
	return host, port, nil
}

// Join joins a host (an IPv6 address with or without brackets) and a port, and checks both.
// Port 0 passes.
func Join(host, port string) (string, error) {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(inner, "]"); !ok || !strings.Contains(host, ":") {
			return "", fmt.Errorf("%q is not an IPv6 address in brackets", "["+inner)
		}
	}
	if err := CheckHost(host); err != nil {
		return "", err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%q is not a port: a port is a number up to 65535", port)
	}
	return net.JoinHostPort(host, port), nil
}

// CheckHost refuses what is neither an address nor a name. A name may not end with a number,
// as addresses do (RFC 1123, Section 2.1).
func CheckHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	if _, err := strconv.ParseUint(labels[len(labels)-1], 10, 64); err == nil || strings.Contains(host, ":") {
		return fmt.Errorf("%q is not an IP address", host)
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || strings.IndexFunc(label, notInName) >= 0 {
			return fmt.Errorf("%q is not the name of a host", host)
		}
	}
	if len(host) > maxName {
		return fmt.Errorf("%q is too long for the name of a host", host)
	}
	return nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
