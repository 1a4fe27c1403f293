package submit

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"postseal/internal/hostport"
)

// nameTime bounds the look-up of this host's name.
const nameTime = 2 * time.Second

// HostName returns the fully qualified name of this host, or "" if it has none that others
// could know. The look-up starts at once and happens once; the returned function waits for
// it.
func HostName() func() string {
	name := sync.OnceValue(func() string {
		// The Go resolver reads /etc/hosts first, where the first name is the canonical one
		// (hosts(5)).
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

// known reports whether a name may mean something to others: systems without a configured
// name call themselves "localhost.localdomain" or "mx1.localdomain".
func known(name string) bool {
	labels := strings.Split(strings.ToLower(name), ".")
	return hostport.CheckName(name) == nil && !strings.HasPrefix(name, "[") && labels[0] != "localhost" &&
		!slices.Contains([]string{"localhost", "localdomain", "localdomain6"}, labels[len(labels)-1])
}

// hello returns the name for EHLO on a connection. A unix socket has no address, and its
// server knows who we are.
func (s *Server) hello(local net.Addr) string {
	if s.Name != nil {
		if name := s.Name(); name != "" {
			return name
		}
	}
	if tcp, ok := local.(*net.TCPAddr); ok {
		return hostport.Literal(tcp.AddrPort().Addr())
	}
	return "localhost"
}
