//go:build doors

package recipes

import (
	"maps"
	"slices"
	"testing"
)

// harakaConfig makes Haraka take mail for the domain from everybody and for other hosts
// from users who log in, over TLS. It has no mailboxes: a Dovecot keeps them.
var harakaConfig = map[string]string{
	"plugins":            "tls\nauth/flat_file\nrcpt_to.in_host_list\npostseal\nqueue/lmtp\n",
	"smtp.ini":           "listen=127.0.0.1:25,127.0.0.1:587\nuser=haraka\ngroup=haraka\n",
	"host_list":          domain + "\n",
	"me":                 "mail.example.test\n",
	"tls.ini":            "key=privkey.pem\ncert=fullchain.pem\n",
	"auth_flat_file.ini": "[core]\nmethods=PLAIN,LOGIN\n[users]\npostseal@" + domain + "=secret\n",
	"lmtp.ini":           "path=" + lmtpSocket + "\n",
	"outbound.ini":       "local_mx_ok=true\n", // Dovecot is at this host
}

func TestHaraka(t *testing.T) {
	onMachine(t, "haraka", func(s *site) {
		s.systemWide()
		s.sh("useradd --system haraka")
		s.startLMTP("haraka")
		const haraka = "/opt/haraka/node_modules/.bin/haraka"
		s.sh(haraka + " -i /etc/haraka >/dev/null; install -d -o haraka /etc/haraka/queue")
		s.install("haraka/postseal.js", "/etc/haraka/plugins/postseal.js")
		s.install("haraka/postseal.timeout", "/etc/haraka/config/postseal.timeout")
		s.tlsFor("/etc/haraka/config", "haraka")
		for _, name := range slices.Sorted(maps.Keys(harakaConfig)) {
			s.writeFile("/etc/haraka/config/"+name, harakaConfig[name], 0o644)
		}
		s.submitAs("postseal")
		s.start(haraka, "-c", "/etc/haraka")
		s.waitPort("127.0.0.1:587")
		refusingRow("haraka/README.md").run(s, "Haraka, plugin")
	})
}
