package challenge

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/idna"

	"postseal/internal/resolve"
)

// dnsTimeout bounds one look-up with all its tries at all servers: the mail server that
// delivers the challenge waits meanwhile.
const dnsTimeout = 5 * time.Second

// maxName bounds a name before its conversion to A-labels, in bytes, since that takes
// quadratic time. A name of 253 characters is shorter in UTF-8.
const maxName = 1 << 10

// names converts U-labels to A-labels (RFC 8616, Section 4) and accepts the underscore of
// "_domainkey".
var names = sync.OnceValue(func() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.StrictDomainName(false), idna.BidiRule())
})

// Resolver returns a look-up of TXT records at the DNS server addr (HOST:PORT), or at the
// system's if addr is empty.
//
// Any error but a *net.DNSError with IsNotFound is temporary, as the DKIM library expects: a
// refusing or broken server says nothing about the key.
func Resolver(addr string) func(ctx context.Context, name string) ([]string, error) {
	client := resolve.Client{Addr: addr, Time: dnsTimeout}
	return func(ctx context.Context, name string) ([]string, error) {
		name, err := absolute(name)
		if err != nil {
			return nil, err
		}
		return client.TXT(ctx, name)
	}
}

// absolute returns a name to which no search list applies. A name that the DNS cannot hold
// has no record.
func absolute(name string) (string, error) {
	if len(name) > maxName {
		return "", &net.DNSError{Err: "not a name", Name: printable(name), IsNotFound: true}
	}
	ascii, err := names().ToASCII(strings.TrimSuffix(name, "."))
	if err != nil || len(ascii) > 253 || strings.IndexFunc(ascii, notInName) >= 0 {
		return "", &net.DNSError{Err: "not a name", Name: printable(name), IsNotFound: true}
	}
	return ascii + ".", nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
}
