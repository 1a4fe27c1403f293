//go:build doors

package recipes

import "postseal/internal/test/machine"

// nameOf is what the DNS of the world has of a name: there are the mail server's
// domain and the CA's, each with its mail host, and nothing else.
func nameOf(name, caDomain string) (n machine.Name, known bool) {
	switch name {
	case domain:
		return machine.Name{Mail: "mail." + domain, Address: "127.0.0.1"}, true
	case "mail." + domain:
		return machine.Name{Address: "127.0.0.1"}, true
	case caDomain:
		return machine.Name{Mail: "mail." + caDomain, Address: caHost}, true
	case "mail." + caDomain:
		return machine.Name{Address: caHost}, true
	}
	return machine.Name{}, false
}
