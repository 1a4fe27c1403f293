package challenge

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"postseal/internal/cli"
	"postseal/state"
)

// signers are the keys for signing replies, with their key records.
var signers = map[string]struct{ key, record string }{
	"rsa-sha256":     {"rsa2048", "v=DKIM1; k=rsa; "},
	"ed25519-sha256": {"ed25519", "v=DKIM1; k=ed25519; "},
}

// signedReply is a reply as it leaves, signed with a key of the address's domain.
func signedReply(t *testing.T, addr, key string) string {
	t.Helper()
	r := &reply{
		from: addr, to: caFrom, part1: part1, inReplyTo: "<challenge-1@ca.example>",
		id: newMessageID(addr), date: received, digest: expectedDigest(part1, pending()),
	}
	signer, err := (&cli.DKIMKey{Key: "testdata/keys/" + key + ".pem"}).Signer()
	if err != nil {
		t.Fatal(err)
	}
	out, err := sign(r.bytes(), addr, []Key{{"other.example", "no", nil}, {"Example.TEST", "sel", signer}, {"b\u00fccher.example", "sel", signer}})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// verifiers must all accept the signature of a reply: the library that signs, and two that
// share no code with it. opendkim-testmsg reads keys only from the DNS; opendkim -t is the
// same library with a file instead.
var verifiers = map[string]func(t *testing.T, mail, name, record string) error{
	"go-msgauth": verifyLibrary,
	"dkimpy":     verifyDkimpy,
	"opendkim":   verifyOpendkim,
}

func verifyLibrary(_ *testing.T, mail, name, record string) error {
	results, err := dkim.VerifyWithOptions(strings.NewReader(mail), &dkim.VerifyOptions{LookupTXT: func(n string) ([]string, error) {
		if n != name {
			return nil, fmt.Errorf("%s is looked up", n)
		}
		return []string{record}, nil
	}})
	if err == nil && len(results) == 1 {
		err = results[0].Err
	}
	return err
}

const dkimpy = `
import sys, dkim
name, record = sys.argv[1].encode(), sys.argv[2].encode()
mail = sys.stdin.buffer.read()
answer = lambda n, timeout=5: record if n.rstrip(b".") == name else None
sys.exit(0 if dkim.DKIM(mail).verify(dnsfunc=answer) else 1)
`

func verifyDkimpy(_ *testing.T, mail, name, record string) error {
	return run("/usr/bin/python3", mail, "-c", dkimpy, name, record)
}

func verifyOpendkim(t *testing.T, mail, name, record string) error {
	dir := t.TempDir()
	for file, text := range map[string]string{
		"keys": name + " " + record + "\n",
		"conf": "Mode v\nSyslog no\nTestDNSData file:" + dir + "/keys\n",
		"mail": mail,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/usr/sbin/opendkim", "-t", dir+"/mail", "-x", dir+"/conf", "-v")
	out, err := cmd.CombinedOutput()
	if err == nil && !bytes.Contains(out, []byte("verification (s=sel,")) || !bytes.Contains(out, []byte(") succeeded")) {
		err = fmt.Errorf("opendkim says %s", out) // its exit status is always 0
	}
	return err
}

func run(program, stdin string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, out)
	}
	return nil
}

func TestSignedReply(t *testing.T) {
	for algorithm, s := range signers {
		mail := signedReply(t, alice, s.key)
		record := s.record + "p=" + testKey(s.key).public()
		for who, verify := range verifiers {
			if err := verify(t, mail, "sel._domainkey.example.test", record); err != nil {
				t.Errorf("%s does not accept %s: %v\n%s", who, algorithm, err, mail)
			}
			if err := verify(t, strings.Replace(mail, "BEGIN ACME", "BEGIN  ACNE", 1), "sel._domainkey.example.test", record); err == nil {
				t.Errorf("%s accepts anything", who)
			}
		}
		h := strings.ToLower(noSpace(regexp.MustCompile(`[;\s]h=([^;]*);`).FindString(mail)))
		for _, name := range []string{ // RFC 8823, Section 3.2, item 9
			"from", "sender", "reply-to", "to", "cc", "subject", "date", "in-reply-to", "references",
			"message-id", "content-type", "content-transfer-encoding",
		} {
			if !slices.Contains(strings.FieldsFunc(h, func(r rune) bool { return strings.ContainsRune(":;=", r) }), name) {
				t.Errorf("%s does not cover %s: %s", algorithm, name, h)
			}
		}
		for tag, want := range map[string]string{"a": algorithm, "d": "example.test", "s": "sel", "c": "relaxed/relaxed"} {
			if !strings.Contains(mail, " "+tag+"="+want+";") {
				t.Errorf("%s: no %s=%s in %s", algorithm, tag, want, mail)
			}
		}
	}
}

// Nobody can add an absent field of RFC 8823, Section 3.2, item 9 on the way.
func TestSignedReplyCannotBeAddedTo(t *testing.T) {
	mail := signedReply(t, alice, "ed25519")
	record := "k=ed25519; p=" + testKey("ed25519").public()
	for _, name := range []string{
		"Sender", "Reply-To", "Cc", "References", "Resent-Date", "Resent-From", "Resent-To", "Resent-Cc",
		"List-Id", "List-Help", "List-Unsubscribe", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
		"List-Unsubscribe-Post",
	} {
		if err := verifyLibrary(t, name+": x\r\n"+mail, "sel._domainkey.example.test", record); err == nil {
			t.Errorf("%s can be added", name)
		}
	}
}

// Below the signature the reply is unchanged, with SMTP's line ends.
func TestSignedReplyIsTheReply(t *testing.T) {
	mail := signedReply(t, alice, "rsa2048")
	i := strings.Index(mail, "\r\nFrom: ")
	if got, err := readReply(mail[i+2:]); err != nil || got.from != alice {
		t.Errorf("%v in %q", err, mail)
	}
	for _, line := range strings.Split(mail, "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
}

func TestSignChoosesByDomain(t *testing.T) {
	for addr, want := range map[string]string{
		alice:                         "example.test",
		"alice@EXAMPLE.test":          "example.test",
		"alice@b\u00fccher.example":   "xn--bcher-kva.example",
		"alice@xn--bcher-kva.example": "xn--bcher-kva.example",
		"alice@mail.example.test":     "",
		"alice@evilexample.test":      "",
	} {
		mail := signedReply(t, addr, "ed25519")
		m := regexp.MustCompile(`^DKIM-Signature:(?s:.)* d=([^;]*);`).FindStringSubmatch(mail)
		if got := append(m, "", "")[1]; got != want {
			t.Errorf("%s is signed by %q, want %q", addr, got, want)
		}
	}
}

// Signatures of other implementations are accepted, with their own position, folds and tags.
// opendkim-testmsg signs with SHA-1, which no verifier may accept (RFC 8301).
func TestForeignSigners(t *testing.T) {
	challenge := newDraft().with(set("Date", time.Now().Format(time.RFC1123Z))).String()
	const dkimpySign = `
import sys, dkim
mail = sys.stdin.buffer.read()
key = open(sys.argv[1], "rb").read()
if sys.argv[2] == "ed25519-sha256":
    import base64
    key = base64.b64encode(base64.b64decode(b"".join(key.splitlines()[1:-1]))[-32:])
sys.stdout.buffer.write(dkim.sign(mail, b"s1", b"ca.example", key, signature_algorithm=sys.argv[2].encode(),
    canonicalize=(b"relaxed", b"simple"), include_headers=b"From To Subject Date Message-ID Auto-Submitted Reply-To Cc".split()))
`
	for name, c := range map[string]struct {
		args []string
		key  string
		want Verdict
	}{
		"dkimpy, RSA":      {[]string{"/usr/bin/python3", "-c", dkimpySign, "testdata/keys/rsa2048.pem", "rsa-sha256"}, "rsa-sha256", Answered},
		"dkimpy, Ed25519":  {[]string{"/usr/bin/python3", "-c", dkimpySign, "testdata/keys/ed25519.pem", "ed25519-sha256"}, "ed25519-sha256", Answered},
		"opendkim-testmsg": {[]string{"/usr/sbin/opendkim-testmsg", "-C", "-d", "ca.example", "-s", "s1", "-k", "testdata/keys/rsa2048.pem"}, "rsa-sha256", Refused},
	} {
		cmd := exec.Command(c.args[0], c.args[1:]...)
		cmd.Stdin = strings.NewReader(challenge)
		var trouble bytes.Buffer
		cmd.Stderr = &trouble
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, trouble.Bytes())
			continue
		}
		if strings.HasPrefix(name, "dkimpy") {
			out = append(out, challenge...)
		}
		s := signers[c.key]
		g := &goldenCase{now: time.Now().Format(time.RFC3339), dns: map[string]answer{
			"s1._domainkey.ca.example": {records: []string{s.record + "p=" + testKey(s.key).public()}},
		}, pending: []*state.Pending{order(func(p *state.Pending) { p.Expires = time.Time{} })}}
		if got := g.responder(t).Answer(t.Context(), Message{Raw: out}); got.Verdict != c.want {
			t.Errorf("%s: %v (%s), want %v\n%s", name, got.Verdict, got.Reason, c.want, out)
		}
	}
}
