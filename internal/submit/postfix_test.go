package submit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/test/mta"
)

// sendVia sends a message to a Postfix under a name.
func sendVia(t *testing.T, post *mta.Instance, name string) error {
	t.Helper()
	server, err := ParseServer("smtp://" + post.SMTPAddr)
	if err != nil {
		t.Fatal(err)
	}
	server.Name = func() string { return name }
	return server.Send(context.Background(), Envelope{alice, alice}, []byte("Subject: x\r\n\r\nhi\r\n"), func() error { return nil })
}

// A Postfix that is strict about EHLO accepts our default name, and its complaint about a bad
// name, now or at RCPT, is not a verdict about the message.
func TestPostfixChecksHelo(t *testing.T) {
	for _, delay := range []string{"yes", "no"} {
		post := mta.StartPostfix(t, mta.Postfix{Users: []string{"alice"}, MainCF: []string{
			"smtpd_helo_required = yes", "smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname",
			"smtpd_delay_reject = " + delay,
		}})
		mx2 := hostName(func() (string, error) { return "mx2", nil }, func(context.Context, string) (string, error) { return "mx2.example.org.", nil })
		unnamed := hostName(func() (string, error) { return "mx2", nil }, func(context.Context, string) (string, error) { return "", errors.New("no such host") })
		for _, name := range []string{mx2, unnamed, "[IPv6:2001:db8::1]"} {
			if err := sendVia(t, post, name); err != nil {
				t.Errorf("smtpd_delay_reject = %s, %q: %v", delay, name, err)
			}
		}
		helos := ""
		for _, mail := range post.WaitMail("alice", 3) {
			_, from, _ := strings.Cut(string(mail), "Received: from ")
			helo, _, _ := strings.Cut(from, " ")
			helos += helo + " "
		}
		for _, want := range []string{"mx2.example.org", "[127.0.0.1]"} {
			if !strings.Contains(helos, want) {
				t.Errorf("%q is not among %s", want, helos)
			}
		}
		for _, name := range []string{"mx1", "localhost", "a_b!"} {
			err := sendVia(t, post, name)
			failed := new(Error)
			if !errors.As(err, &failed) || failed.Class != Later || !strings.Contains(err.Error(), "set helo to the full name of this host") || !strings.Contains(err.Error(), name) {
				t.Errorf("smtpd_delay_reject = %s, %q: %v", delay, name, err)
			}
		}
	}
}

// startSASL starts a Postfix that accepts mail only from alice@example.test, who logs in over
// TLS by one mechanism of Cyrus SASL with "open sesame".
func startSASL(t *testing.T, mechanism, root string, identity *tls.Config) *mta.Instance {
	t.Helper()
	mta.Need(t, "saslpasswd2")
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(identity.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, "sasldb2")
	keyFile := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"PATH=$PATH:/usr/sbin saslpasswd2 -c -p -f " + db + " -u example.test alice", "chown -R postfix " + filepath.Dir(dir)} {
		cmd := exec.Command("sh", "-c", command)
		cmd.Stdin = strings.NewReader("open sesame")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	post := mta.StartPostfix(t, mta.Postfix{Relay: mta.StartSink(t).Addr, MainCF: []string{
		"smtpd_sasl_auth_enable = yes", "smtpd_sasl_type = cyrus", "smtpd_sasl_path = smtpd",
		"smtpd_tls_security_level = may", "smtpd_tls_auth_only = yes", "smtpd_tls_cert_file = " + root, "smtpd_tls_key_file = " + keyFile,
		"smtpd_client_restrictions = permit_sasl_authenticated, reject",
	}})
	// Debian's Postfix reads the file there, at the first connection.
	text := fmt.Sprintf("pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s\nmech_list: %s\n", db, mechanism)
	conf := filepath.Join(post.ConfDir, "sasl")
	if err := errors.Join(os.Mkdir(conf, 0o755), os.WriteFile(filepath.Join(conf, "smtpd.conf"), []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	return post
}

// Logins at a real server: only one mechanism, and only after STARTTLS.
func TestPostfixSASL(t *testing.T) {
	identity, root := certificate(t)
	for _, mechanism := range []string{"PLAIN", "LOGIN"} {
		post := startSASL(t, mechanism, root, identity)
		_, port, _ := strings.Cut(post.SMTPAddr, ":")
		for _, c := range []struct{ user, password, err string }{
			{"alice%40example.test@", "open sesame", ""},
			{"alice%40example.test@", "wrong", "refuses the login of alice@example.test; look at the user in --smtp and at the password: 535 5.7.8"},
			{"", "", "does not take mail from this host"},
		} {
			err := submit(t, "smtp+starttls://"+c.user+"localhost:"+port, func(s *Server) { s.CAFile, s.Password = root, c.password })
			failed := new(Error)
			if c.err == "" && err != nil || c.err != "" && (!errors.As(err, &failed) || failed.Class != Later || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%s, %q: %v, want %q", mechanism, c.password, err, c.err)
			}
		}
		post.WaitLog("sasl_method=" + mechanism + ", sasl_username=alice@example.test")
	}
}
