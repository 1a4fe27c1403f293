package submit

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"postseal/internal/hostport"
)

// nameTime bounds how long the name of this host is looked up.
const nameTime = 2 * time.Second

// CheckName refuses what must not stand in EHLO: it takes a fully qualified name
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
		return fmt.Errorf("%q is an address, which stands in brackets: %s", name, literal(netip.MustParseAddr(name)))
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
	name := sync.OnceValue(hostName)
	go name()
	return name
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return ""
	}
	if CheckName(name) == nil {
		return name
	}
	ctx, cancel := context.WithTimeout(context.Background(), nameTime)
	defer cancel()
	// The Go resolver looks into /etc/hosts first, where the first name is the
	// canonical one (hosts(5)).
	canonical, err := (&net.Resolver{PreferGo: true}).LookupCNAME(ctx, name)
	canonical = strings.TrimSuffix(canonical, ".")
	if err != nil || CheckName(canonical) != nil || strings.HasPrefix(canonical, "localhost.") {
		return ""
	}
	return canonical
}

// ehloName returns what EHLO says on a connection. A unix socket has no address,
// and its server knows who we are.
func (s *Server) ehloName(local net.Addr) string {
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
