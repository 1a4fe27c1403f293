//go:build packages

package firsthour

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/test/machine"
)

// host is the machine's name. Were it below example.test, Debian's Postfix would hand
// that domain's mail to the relay.
const host = "mx1.provider.test"

// caDNS is where the CA's DNS server is, which the document starts.
const caDNS = "127.0.0.1:5353"

// world is what a host at a provider has before its admin comes: names, DNS, users,
// packages that were fetched, and a preset for Postfix that sends mail through the
// provider's relay. The relay is played by the CA's mail host.
func world(t *testing.T) {
	must(t, os.Remove("/usr/sbin/policy-rc.d")) // of the image: packages start nothing there
	for name, text := range map[string]string{
		"/etc/mailname":    "example.test\n",
		"/etc/hostname":    host + "\n",
		"/etc/hosts":       "127.0.0.1 " + host + " mx1 localhost\n",
		"/etc/resolv.conf": "nameserver 127.0.0.1\n",
	} {
		must(t, os.WriteFile(name, []byte(text), 0o644))
	}
	must(t, exec.Command("useradd", "--create-home", "alice").Run())
	debs, err := filepath.Glob(machine.Kit + "/*.deb")
	must(t, err)
	for _, deb := range debs {
		data, err := os.ReadFile(deb)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(place, filepath.Base(deb)), data, 0o644))
	}
	must(t, machine.ServeDNS(caDNS, nameOf))
	presets := exec.Command("debconf-set-selections")
	presets.Stdin = strings.NewReader("postfix postfix/main_mailer_type select Internet with smarthost\n" +
		"postfix postfix/relayhost string [127.0.0.1]:2525\n")
	must(t, presets.Run())
}

// nameOf is what the DNS of the world has of a name.
func nameOf(name string) (n machine.Name, known bool) {
	switch name {
	case "example.test":
		n.Mail = host
	case host:
		n.Address = "127.0.0.1"
	}
	return n, true
}
