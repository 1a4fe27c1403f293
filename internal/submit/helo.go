package submit

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"postseal/internal/hostport"
)

// nameTime bounds how long the name of this host is looked up.
const nameTime = 2 * time.Second

// CheckName refuses names that EHLO must not have: it takes a fully qualified name
// (RFC 5321, Section 2.3.5) or an address literal (Section 4.1.3).
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
	if err := hostport.CheckHost(name); err != nil {
		return err
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("%q is an address, which goes in brackets: %s", name, literal(netip.MustParseAddr(name)))
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

// HostName returns the fully qualified name of this host, "" if it has none that
// others could know. The look-up starts at once and happens once; who asks waits
// for it.
func HostName() func() string {
	name := sync.OnceValue(func() string {
		// The Go resolver looks into /etc/hosts first, where the first name is the
		// canonical one (hosts(5)).
		return hostName(os.Hostname, (&net.Resolver{PreferGo: true}).LookupCNAME)
	})
	go name()
	return name
}

func hostName(own func() (string, error), canonical func(context.Context, string) (string, error)) string {
	name, err := own()
	if err != nil || name == "" {
		return ""
	}
	if known(name) {
		return name
	}
	ctx, cancel := context.WithTimeout(context.Background(), nameTime)
	defer cancel()
	if name, err = canonical(ctx, name); err != nil {
		return ""
	}
	if name = strings.TrimSuffix(name, "."); known(name) {
		return name
	}
	return ""
}

// known reports whether a name may mean something to others: "localhost.localdomain"
// and "mx1.localdomain" are how systems name themselves that were given no name.
func known(name string) bool {
	labels := strings.Split(strings.ToLower(name), ".")
	return CheckName(name) == nil && !strings.HasPrefix(name, "[") && labels[0] != "localhost" &&
		!slices.Contains([]string{"localhost", "localdomain", "localdomain6"}, labels[len(labels)-1])
}

// Hello returns what EHLO says on a connection. A unix socket has no address,
// and its server knows who we are.
func (s *Server) Hello(local net.Addr) string {
	if s.Name != nil {
		if name := s.Name(); name != "" {
			return name
		}
	}
	if tcp, ok := local.(*net.TCPAddr); ok {
		return literal(tcp.AddrPort().Addr())
	}
	return "localhost"
}

// literal writes an address as in RFC 5321, Section 4.1.3.
func literal(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}
