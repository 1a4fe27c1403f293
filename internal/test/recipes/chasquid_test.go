//go:build doors

package recipes

import (
	"testing"
)

// chasquid takes mail for other hosts from users who log in, over TLS, and from nobody
// else; Dovecot keeps the mailboxes.
func TestChasquid(t *testing.T) {
	onMachine(t, "chasquid", func(s *site) {
		s.systemWide()
		s.startLMTP("chasquid")
		s.sh("cp -p /etc/chasquid/hooks/post-data /etc/chasquid/hooks/post-data.local") // Debian's
		s.install("chasquid/post-data", "/etc/chasquid/hooks/post-data")
		s.appendFile("/etc/chasquid/chasquid.conf", `
smtp_address: "127.0.0.1:25"
submission_address: "127.0.0.1:587"
mail_delivery_agent_bin: "/usr/bin/mda-lmtp"
mail_delivery_agent_args: "--addr"
mail_delivery_agent_args: "`+lmtpSocket+`"
mail_delivery_agent_args: "-f"
mail_delivery_agent_args: "%from%"
mail_delivery_agent_args: "-d"
mail_delivery_agent_args: "%to%"
`)
		s.tlsFor("/etc/chasquid/certs/mail.example.test", "chasquid")
		for _, user := range append(people, "postseal") {
			s.sh("chasquid-util user-add " + user + "@" + domain + " --password=secret")
		}
		s.sh("chgrp chasquid /etc/chasquid/domains/*/users && chmod 640 /etc/chasquid/domains/*/users")
		s.submitAs("postseal")
		s.start("setpriv", "--reuid=chasquid", "--regid=chasquid", "--init-groups",
			"--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service", "/usr/bin/chasquid")
		s.waitPort("127.0.0.1:587")
		s.waitPort(smtpAddr)
		refusingRow("chasquid/README.md").run(s, "chasquid, post-data hook")
	})
}

// tlsFor puts a certificate of the mail server into a directory, as its two files are
// called everywhere, and the root where submitAs expects it.
func (s *site) tlsFor(dir, owner string) {
	s.t.Helper()
	s.sh("mkdir -p " + dir + ` && cd ` + dir + ` && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
-subj /CN=mail.example.test -addext subjectAltName=DNS:mail.example.test -keyout privkey.pem -out fullchain.pem 2>&1 &&
cp fullchain.pem ` + mailRoot + ` && chown -R ` + owner + `: .`)
}

const mailRoot = "/etc/ssl/mail-root.pem"

// submitAs has postseal log in at the submission port.
func (s *site) submitAs(user string) {
	s.t.Helper()
	s.writeFile("/etc/postseal/smtp.password", "secret\n", 0o640)
	s.sh("chgrp postseal /etc/postseal/smtp.password")
	text := s.readFile(config)
	s.writeFile(config, `smtp = "smtp+starttls://`+user+`%40example.test@mail.example.test:587"
smtp-password-file = "/etc/postseal/smtp.password"
smtp-ca = "`+mailRoot+`"
`+text, 0o644)
}

const lmtpSocket = "/run/dovecot/lmtp"

// startLMTP starts a Dovecot that does nothing but keep mailboxes, for a user who
// delivers into them.
func (s *site) startLMTP(user string) {
	s.t.Helper()
	s.writeFile("/etc/dovecot/local.conf", `
mail_location = maildir:~/Maildir
auth_username_format = %Ln
service lmtp {
  unix_listener lmtp {
    user = `+user+`
    mode = 0600
  }
}
`, 0o644)
	s.sh("dovecot")
	s.waitFor("Dovecot's LMTP", func() bool { return listening("unix", lmtpSocket) })
}
