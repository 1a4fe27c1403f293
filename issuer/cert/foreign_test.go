package cert

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/failure"
	"postseal/internal/test/mta"
)

// yard is a directory with a key, its certificate, and other programs' versions of them.
type yard struct {
	*testing.T
	dir string
}

func newYard(t *testing.T) *yard {
	y := &yard{t, t.TempDir()}
	y.sh(`openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=alice -addext subjectAltName=email:alice@example.test &&
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out other.pem -days 30 -subj /CN=other &&
		openssl pkcs12 -export -inkey key.pem -in cert.pem -name alice -passout pass:passphrase -out plain.p12 &&
		certutil -N -d sql:. --empty-password && pk12util -i plain.p12 -d sql:. -W passphrase`)
	return y
}

// sh runs a command line, without a terminal, and answers a prompt for a passphrase.
func (y *yard) sh(line string) {
	y.Helper()
	ask := filepath.Join(y.dir, "askpass")
	must(y.T, os.WriteFile(ask, []byte("#!/bin/sh\necho passphrase\n"), 0o700))
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = y.dir
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force", "LC_ALL=C")
	cmd.Stdin = strings.NewReader(strings.Repeat("passphrase\n", 4))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		y.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// convert runs the command of a hint.
func (y *yard) convert(hint string) {
	y.Helper()
	_, command, ok := strings.Cut(hint, ": ")
	if !ok || !strings.Contains(command, "converted") {
		y.Fatalf("the hint %q has no command", hint)
	}
	y.sh("rm -f converted.pem; " + command)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func words(list ...string) (all []func() (string, error)) {
	for _, word := range list {
		all = append(all, func() (string, error) { return word, nil })
	}
	return all
}

// ReadKey reads other programs' private keys, or names their type, with a command that
// converts them to one that it reads.
func TestForeignKeys(t *testing.T) {
	y := newYard(t)
	t.Chdir(y.dir)
	want, err := ReadKey("key.pem")
	must(t, err)
	for file, tc := range map[string]struct{ line, what string }{
		"pkcs8.der":         {"openssl pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out pkcs8.der", ""},
		"pkcs1.der":         {"openssl rsa -in key.pem -outform DER -traditional -out pkcs1.der", ""},
		"pkcs1.pem":         {"openssl rsa -in key.pem -traditional -out pkcs1.pem", ""},
		"windows.pem":       {`(printf '\357\273\277'; sed 's/$/\r/' key.pem) >windows.pem`, ""},
		"both.pem":          {"cat cert.pem key.pem >both.pem", ""},
		"encrypted.pem":     {"openssl pkcs8 -topk8 -in key.pem -passout pass:passphrase -out encrypted.pem", "an encrypted key"},
		"encrypted 'x'.der": {"openssl pkcs8 -topk8 -in key.pem -passout pass:passphrase -outform DER -out \"encrypted 'x'.der\"", "an encrypted key"},
		"traditional.pem":   {"openssl rsa -in key.pem -traditional -aes128 -passout pass:passphrase -out traditional.pem", "an encrypted key"},
		"ssh":               {"cp key.pem ssh && chmod 600 ssh && ssh-keygen -p -N '' -f ssh", "a key of OpenSSH"},
		"ssh.locked":        {"cp key.pem ssh.locked && chmod 600 ssh.locked && ssh-keygen -p -N passphrase -f ssh.locked", "a key of OpenSSH"},
		"plain.p12":         {"true", "a PKCS#12 container"},
		"nss.p12":           {"pk12util -o nss.p12 -n alice -d sql:. -W passphrase", "a PKCS#12 container"},
		"utf16.pem":         {"iconv -f UTF-8 -t UTF-16 key.pem >utf16.pem", "text in UTF-16"},
		"java.jks": {"keytool -importkeystore -srckeystore plain.p12 -srcstorepass passphrase -destkeystore java.jks -deststoretype JKS -deststorepass passphrase",
			"a Java keystore"},
		"cert.pem":   {"true", "a certificate, and no key"},
		"cert.der":   {"openssl x509 -in cert.pem -outform DER -out cert.der", "a certificate, and no key"},
		"public.pem": {"openssl pkey -in key.pem -pubout -out public.pem", "a public key"},
		"small.pem":  {"openssl genrsa -out small.pem 1024", "1024 bits"},
		"p521.pem":   {"openssl ecparam -name secp521r1 -genkey -noout -out p521.pem", "P-521"},
		"dsa.pem":    {"openssl genpkey -algorithm ED448 -out dsa.pem", "the key cannot be read"},
		"nothing":    {": >nothing", "holds no private key"},
	} {
		y.sh(tc.line)
		key, err := ReadKey(file)
		if tc.what == "" {
			if err != nil || !SamePublicKey(want.Public(), key) {
				t.Errorf("%s: %v", file, err)
			}
			continue
		}
		if failure.KindOf(err) != failure.KindUsage || !strings.Contains(err.Error(), tc.what) || failure.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", file, err, failure.HintOf(err))
			continue
		}
		if !strings.Contains(failure.HintOf(err), "convert") {
			continue
		}
		y.convert(failure.HintOf(err))
		if file == "java.jks" { // to PKCS#12, which needs a second conversion
			_, err = ReadKey("converted.p12")
			y.convert(failure.HintOf(err))
		}
		if key, err = ReadKey("converted.pem"); err != nil || !SamePublicKey(want.Public(), key) {
			t.Errorf("%s, converted: %v", file, err)
		}
	}
}

// The same goes for certificates and for containers of any program: those with a key return
// it.
func TestForeignContainers(t *testing.T) {
	mta.NotShort(t)
	y := newYard(t)
	t.Chdir(y.dir)
	want, _, err := Read("cert.pem", nil)
	must(t, err)
	const export = "openssl pkcs12 -export -inkey key.pem -in cert.pem -passout pass:passphrase "
	const nss = "pk12util -n alice -d sql:. -W passphrase "
	for file, tc := range map[string]struct {
		line, what string
		key        bool
	}{
		"cert.der":     {"openssl x509 -in cert.pem -outform DER -out cert.der", "", false},
		"both.pem":     {"cat cert.pem key.pem >both.pem", "", true},
		"windows.pem":  {`(printf '\357\273\277'; sed 's/$/\r/' cert.pem) >windows.pem`, "", false},
		"mixed.pem":    {"cat cert.pem other.key >mixed.pem", "", false},
		"plain.p12":    {"true", "", true},
		"nomac.p12":    {export + "-nomac -out nomac.p12", "", true},
		"open.p12":     {export + "-nomac -keypbe NONE -certpbe NONE -out open.p12", "", true},
		"legacy.p12":   {export + "-legacy -out legacy.p12", "", true}, // RC2-40
		"des.p12":      {export + "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg SHA1 -out des.p12", "", true},
		"first.p12":    {"cat other.pem cert.pem >two.pem; openssl pkcs12 -export -inkey key.pem -in cert.pem -certfile two.pem -passout pass:passphrase -out first.p12", "", true},
		"nss.p12":      {nss + "-o nss.p12", "", true},
		"nss rc2.p12":  {nss + `-C "PKCS #12 V2 PBE With SHA-1 And 40 Bit RC2 CBC" -o 'nss rc2.p12'`, "", true},
		"nss des.p12":  {nss + `-c "PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-CBC" -C "PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-CBC" -o 'nss des.p12'`, "", true},
		"java.p12":     {"keytool -importkeystore -srckeystore plain.p12 -srcstorepass passphrase -destkeystore java.p12 -deststoretype PKCS12 -deststorepass passphrase", "", true},
		"camellia.p12": {nss + "-c CAMELLIA-256-CBC -C CAMELLIA-256-CBC -o camellia.p12", "PKCS#12 container that cannot be read here: pbes2 algorithm", false},
		"rc4.p12":      {export + "-legacy -keypbe PBE-SHA1-RC4-128 -certpbe PBE-SHA1-RC4-128 -out rc4.p12", "cannot be read here: pbe algorithm", false},
		"certs.p12":    {"openssl pkcs12 -export -nokeys -in cert.pem -passout pass:passphrase -out certs.p12", "does not hold both", false},
		"list.p7b":     {"openssl crl2pkcs7 -nocrl -certfile cert.pem -outform DER -out list.p7b", "a PKCS#7 list", false},
		"list.pem":     {"openssl crl2pkcs7 -nocrl -certfile cert.pem -out list.pem", "a PKCS#7 list", false},
		"utf16.pem":    {"iconv -f UTF-8 -t UTF-16 cert.pem >utf16.pem", "text in UTF-16", false},
		"key.pem":      {"true", "a private key", false},
		"text":         {"echo text >text", "not a certificate in PEM, DER or PKCS#12", false},
	} {
		y.sh(tc.line)
		leaf, key, err := Read(file, words("passphrase"))
		if tc.what == "" {
			if err != nil || !leaf.Equal(want) || (key != nil) != tc.key {
				t.Errorf("%s: key %v, %v", file, key != nil, err)
			}
			if strings.HasSuffix(file, ".p12") && file != "open.p12" && !strings.HasPrefix(file, "nss ") {
				if _, _, err := Read(file, words("", "wrong")); failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), "the passphrase does not open") {
					t.Errorf("%s, wrong passphrase: %v", file, err)
				}
			}
			continue
		}
		if failure.KindOf(err) != failure.KindUsage || !strings.Contains(err.Error(), tc.what) || failure.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", file, err, failure.HintOf(err))
			continue
		}
		if !strings.Contains(failure.HintOf(err), "converted") {
			continue
		}
		y.convert(failure.HintOf(err))
		if leaf, _, err := Read("converted.pem", nil); err != nil || !leaf.Equal(want) {
			t.Errorf("%s, converted: %v", file, err)
		}
	}
}

func FuzzOpenContainer(f *testing.F) {
	f.Add([]byte("0\x80\x02\x01\x030\x80\x06\x09*\x86H\x86\xf7\x0d\x01\x07\x01\xa0\x80$\x80\x04\x020\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if der, ok := rewriteContainer(data, "word"); ok && len(der) > 2*len(data)+1000 {
			panic("it grows")
		}
		identify(data, "name")
	})
}
