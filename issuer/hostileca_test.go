package issuer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/internal/test/certs"
	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// lie is a wrong answer of a CA: in all answers of one resource, one value is changed.
type lie struct {
	resource string
	what     string
	apply    func(*httptest.ResponseRecorder) (told bool)
}

func (l lie) String() string { return l.resource + " " + l.what }

// resourceOf names the resource of a request, as testca.Fault.Kind does.
func resourceOf(path string) string {
	if strings.HasSuffix(path, "/finalize") {
		return "finalize"
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, "/"), "acme/"), "/")
	return name
}

// tamper passes each answer of the CA through change.
func tamper(change func(resource string, r *httptest.ResponseRecorder)) func(http.Handler) http.Handler {
	return func(ca http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			r := httptest.NewRecorder()
			ca.ServeHTTP(r, req)
			change(resourceOf(req.URL.Path), r)
			maps.Copy(w.Header(), r.Header())
			w.Header().Del("Content-Length")
			w.WriteHeader(r.Code)
			_, _ = w.Write(r.Body.Bytes()) // the client may have gone
		})
	}
}

// wholeProblem is a problem document with every possible field (RFC 8555, Section 6.7).
const wholeProblem = `{"type":"urn:ietf:params:acme:error:compound","title":"no","detail":"not so","status":400,"instance":"https://ca.example/why",
"subproblems":[{"type":"urn:ietf:params:acme:error:caa","title":"no","detail":"forbidden","identifier":{"type":"email","value":"alice@example.test"}}]}`

// scenes are answers that an honest test CA gives only after a failure: a resource, and its
// answer then.
var scenes = map[string]struct {
	resource string
	set      func(*httptest.ResponseRecorder)
}{
	"newOrder refused": {"new-order", problemScene(http.StatusBadRequest)},
	"finalize refused": {"finalize", problemScene(http.StatusForbidden)},
	"authz refused":    {"authz", problemScene(http.StatusForbidden)},
	"authz invalid":    {"authz", failedScene("challenges", 0, "error")},
	"order invalid":    {"finalize", failedScene("error")},
	"account refused":  {"new-account", problemScene(http.StatusForbidden)},
}

func problemScene(status int) func(*httptest.ResponseRecorder) {
	return func(r *httptest.ResponseRecorder) {
		r.Code = status
		r.Header().Set("Content-Type", "application/problem+json")
		r.Body = bytes.NewBufferString(wholeProblem)
	}
}

func failedScene(at ...any) func(*httptest.ResponseRecorder) {
	return func(r *httptest.ResponseRecorder) {
		setJSON(r, []any{"status"}, "invalid")
		setJSON(r, at, json.RawMessage(wholeProblem))
	}
}

// setJSON replaces the value at a path, if the path exists.
func setJSON(r *httptest.ResponseRecorder, at []any, value any) (done bool) {
	var doc any
	if json.Unmarshal(r.Body.Bytes(), &doc) != nil {
		return false
	}
	doc, done = put(doc, at, value)
	if text, err := json.Marshal(doc); err == nil && done {
		r.Body = bytes.NewBuffer(text)
	}
	return done
}

func put(doc any, at []any, value any) (_ any, done bool) {
	if len(at) == 0 {
		return value, true
	}
	switch v := doc.(type) {
	case map[string]any:
		if key, ok := at[0].(string); ok {
			v[key], done = put(v[key], at[1:], value)
		}
	case []any:
		if n, ok := at[0].(int); ok && n < len(v) {
			v[n], done = put(v[n], at[1:], value)
		}
	}
	return doc, done
}

// paths walks a JSON document and returns the path of each value in it, including the whole.
func paths(doc any, at []any) [][]any {
	all := [][]any{slices.Clone(at)}
	switch v := doc.(type) {
	case map[string]any:
		for key, member := range v {
			all = append(all, paths(member, append(slices.Clip(at), key))...)
		}
	case []any:
		for n, member := range v {
			all = append(all, paths(member, append(slices.Clip(at), n))...)
		}
	}
	return all
}

const hostileText = "x\x1b[2J\u009b31m\u202ey\u2066\x07\x7f"

// values are the replacements for a value.
func values(clearText string) map[string]any {
	return map[string]any{
		"control": hostileText, "CR LF": "ca@ca.example\r\nBcc: eve@evil.example\r\n\r\nhello", "http": clearText,
		"another host": "https://127.0.0.1:1/x", "no URL": "https://[::1\x7f%zz", "a megabyte": strings.Repeat("A", 1<<20),
		"empty": "", "null": nil, "number": 4711, "negative": -1, "object": map[string]any{"a": []any{1}}, "list": []any{hostileText},
		"deep": json.RawMessage(strings.Repeat("[", 20000) + strings.Repeat("]", 20000)),
	}
}

// Times that JSON can express in one zone but not at Greenwich.
const (
	latest   = "9999-12-31T23:59:59-23:59"
	earliest = "0000-01-01T00:00:00+23:59"
)

// words are replacements for some names only.
var words = map[string][]any{
	"status":  {"valid", "invalid", "processing", "pending", "ready", "deactivated", "nonsense", 99, 200, 503},
	"expires": {"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", latest, earliest},
	"start":   {"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", latest, earliest},
	"end":     {"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", latest, earliest},
	"value":   {"eve@example.test", "ALICE@example.test", "alice@exam\u00adple.test", "alice@example.test\u200b"},
	"from":    {"ca@ca.example, eve@evil.example", "CA <ca@ca.example>", "ca@ca.example\u2028", "alice@example.test"},
}

// jsonLies returns all lies about the JSON of one resource, of which doc is an example.
func jsonLies(resource string, scene func(*httptest.ResponseRecorder), doc any, clearText string) []lie {
	var all []lie
	add := func(at []any, name string, value any) {
		all = append(all, lie{resource, fmt.Sprintf("%v: %s", at, name), func(r *httptest.ResponseRecorder) bool {
			if scene != nil {
				scene(r)
			}
			return setJSON(r, at, value)
		}})
	}
	for _, at := range paths(doc, nil) {
		for name, value := range values(clearText) {
			add(at, name, value)
		}
		if len(at) == 0 {
			continue
		}
		if name, ok := at[len(at)-1].(string); ok {
			for _, word := range words[name] {
				add(at, fmt.Sprint(word), word)
			}
		}
	}
	return all
}

// headerLies returns all lies about the header and the status of one resource.
func headerLies(resource, clearText string) []lie {
	var all []lie
	add := func(name string, apply func(*httptest.ResponseRecorder)) {
		all = append(all, lie{resource, name, func(r *httptest.ResponseRecorder) bool { apply(r); return true }})
	}
	links := fmt.Sprintf(`<%s>;rel="up"`, clearText)
	for field, values := range map[string][]string{
		"Location":     {hostileText[4:], "", clearText, "https://127.0.0.1:1/x", "/relative", "https://[::1", strings.Repeat("A", 1<<19), "https://ca.example/\u202e"},
		"Replay-Nonce": {hostileText[4:], "", "-1", strings.Repeat("A", 1<<19)},
		"Link":         {links, strings.Repeat(links+", ", 500), `<` + clearText + `>;rel="alternate"`, hostileText[4:]},
		"Retry-After":  {"-1", "2147483647", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", hostileText[4:]},
		"Content-Type": {"", "text/html", "application/problem+json", "application/json", "application/pem-certificate-chain", hostileText[4:]},
	} {
		for n, value := range values {
			add(fmt.Sprintf("%s %d: %.20q", field, n, value), func(r *httptest.ResponseRecorder) { r.Header().Set(field, value) })
		}
	}
	for _, status := range []int{201, 204, 299, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503, 599, 999} {
		add("status "+strconv.Itoa(status), func(r *httptest.ResponseRecorder) {
			r.Code = status
			r.Header().Set("Location", clearText)
			r.Header().Set("Retry-After", "2147483647")
		})
	}
	for name, body := range map[string]string{"empty": "", "cut": `{"status":`, "HTML": "<html>" + hostileText, "2 MB": strings.Repeat("{", 2<<20)} {
		add("body "+name, func(r *httptest.ResponseRecorder) { r.Body = bytes.NewBufferString(body) })
	}
	return all
}

// chainLies returns lies about the certificate: its leaf reissued with a change, and other
// content of the file.
func chainLies(t *testing.T) []lie {
	key := certs.Key(t)
	secret, err := cert.MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	other := certs.SelfSigned(t, key, func(*x509.Certificate) {})
	var all []lie
	for name, change := range leafChanges {
		all = append(all, lie{"certificate", "leaf: " + name, func(r *httptest.ResponseRecorder) bool {
			block, rest := pem.Decode(r.Body.Bytes())
			if block == nil {
				return false // a problem document
			}
			leaf, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Error(err)
				return false
			}
			again := reissued(t, leaf, change)
			r.Body = bytes.NewBuffer(append(cert.MarshalChain([]*x509.Certificate{again}), rest...))
			return true
		}})
	}
	for name, change := range map[string]func(string) string{
		"a key behind":   func(s string) string { return s + string(secret) },
		"a key before":   func(s string) string { return string(secret) + s },
		"another leaf":   func(string) string { return string(cert.MarshalChain([]*x509.Certificate{other})) },
		"a thousand":     func(s string) string { return strings.Repeat(s, 500) },
		"a megabyte":     func(s string) string { return s + strings.Repeat("\n", 1<<20) },
		"none":           func(string) string { return "" },
		"text":           func(s string) string { return hostileText + "\n" + s },
		"headers":        func(s string) string { return strings.Replace(s, "-----\n", "-----\nA: b\n\n", 1) },
		"another object": func(s string) string { return strings.ReplaceAll(s, "CERTIFICATE", "PKCS7") },
		"cut":            func(s string) string { return s[:len(s)/3] },
	} {
		all = append(all, lie{"certificate", "chain: " + name, func(r *httptest.ResponseRecorder) bool {
			if r.Code != http.StatusOK {
				return false
			}
			r.Body = bytes.NewBufferString(change(r.Body.String()))
			return true
		}})
	}
	return all
}

// leafChanges turn a certificate into one that was not ordered.
var leafChanges = map[string]func(*x509.Certificate){
	"a dNSName":       func(c *x509.Certificate) { c.DNSNames = []string{"www.example.test"} },
	"the dNSName":     func(c *x509.Certificate) { c.DNSNames = []string{alice} },
	"an address more": func(c *x509.Certificate) { c.EmailAddresses = append(c.EmailAddresses, "eve@example.test") },
	"another address": func(c *x509.Certificate) { c.EmailAddresses = []string{"eve@example.test"} },
	"no address":      func(c *x509.Certificate) { c.EmailAddresses = nil },
	"an IP address":   func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} },
	"a URI":           func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "urn", Opaque: "x"}} },
	"serverAuth":      func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) },
	"codeSigning":     func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) },
	"any usage":       func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} },
	"no usage":        func(c *x509.Certificate) { c.ExtKeyUsage = nil },
	"a CA":            func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true },
	"no end":          func(c *x509.Certificate) { c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) },
	"expired":         func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Unix(1000, 0) },
	"not yet":         func(c *x509.Certificate) { c.NotBefore = c.NotAfter.Add(-time.Minute) },
	"backwards":       func(c *x509.Certificate) { c.NotBefore = c.NotAfter.Add(time.Minute) },
	"a stranger's CN": func(c *x509.Certificate) { c.Subject.CommonName = "eve@example.test" },
	"control in CN":   func(c *x509.Certificate) { c.Subject.CommonName = hostileText + "@x" },
}

// reissued is a certificate with a change, from a CA of its own, since nobody checks its
// root.
func reissued(t *testing.T, leaf *x509.Certificate, change func(*x509.Certificate)) *x509.Certificate {
	again := &x509.Certificate{
		SerialNumber: leaf.SerialNumber, Subject: leaf.Subject, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		KeyUsage: leaf.KeyUsage, ExtKeyUsage: leaf.ExtKeyUsage, EmailAddresses: leaf.EmailAddresses,
	}
	again.Subject.Names = nil
	change(again)
	key := certs.Key(t)
	der, err := x509.CreateCertificate(rand.Reader, again, certs.SelfSigned(t, key, func(*x509.Certificate) {}), leaf.PublicKey, key)
	if err != nil {
		t.Error(err)
		return leaf
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Error(err)
		return leaf
	}
	return cert
}

// everyLie orders at an honest CA, and makes lies of all its answers.
func everyLie(t *testing.T, clearText string) []lie {
	said := map[string][]any{}
	var mu sync.Mutex
	w := newWorld(t, testca.Config{Sign: testca.SignNone, Tamper: tamper(func(resource string, r *httptest.ResponseRecorder) {
		var doc any
		_ = json.Unmarshal(r.Body.Bytes(), &doc)
		mu.Lock()
		defer mu.Unlock()
		said[resource] = append(said[resource], doc)
	})})
	for _, err := range w.deal(t, nil, 0) {
		if err != nil {
			t.Fatalf("an honest CA: %v\n%s", err, w.transcript())
		}
	}
	all := chainLies(t)
	for resource, docs := range said {
		all = append(all, headerLies(resource, clearText)...)
		seen := map[string]bool{}
		for _, doc := range docs {
			if doc == nil {
				continue
			}
			for _, l := range jsonLies(resource, nil, doc, clearText) {
				if !seen[l.what] {
					all = append(all, l)
				}
				seen[l.what] = true
			}
		}
	}
	var doc any
	if err := json.Unmarshal([]byte(wholeProblem), &doc); err != nil {
		t.Fatal(err)
	}
	for name, scene := range scenes {
		r := httptest.NewRecorder()
		if r.Body.WriteString("{}"); scene.resource == "authz" {
			r.Body = bytes.NewBufferString(`{"challenges":[{"type":"email-reply-00"}]}`)
		}
		scene.set(r)
		var doc any
		if err := json.Unmarshal(r.Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		for _, l := range jsonLies(scene.resource, scene.set, doc, clearText) {
			l.what = name + " " + l.what
			all = append(all, l)
		}
	}
	return all
}

// patience is how long a command continues after it heard a lie, unhurried the same for a
// busy machine: before the lie it hears the truth.
const (
	patience  = 400 * time.Millisecond
	unhurried = time.Minute
)

// deal uses every request to a CA, and returns the errors. Each command has until patience
// after told is closed.
func (w *world) deal(t *testing.T, told <-chan struct{}, patience time.Duration) (errs []error) {
	i := w.issuer(func(o *Options) { o.Timing.Slow = 50 * time.Millisecond })
	server := w.ca.DirectoryURL
	try := func(command func(ctx context.Context) error) bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			select {
			case <-told:
			case <-ctx.Done():
			}
			select {
			case <-time.After(patience):
				cancel()
			case <-ctx.Done():
			}
		}()
		err := command(ctx)
		errs = append(errs, err)
		return err == nil
	}
	var res *Result
	obtained := try(func(ctx context.Context) (err error) {
		req := w.request(alice)
		req.Timeout = unhurried
		res, err = i.Obtain(ctx, req)
		return err
	})
	if !obtained {
		return errs
	}
	try(func(ctx context.Context) error {
		c, err := i.CA(server, w.bundle)
		if err == nil {
			_, err = c.Show(ctx)
		}
		return err
	})
	try(func(ctx context.Context) error {
		c, err := i.CA(server, w.bundle)
		if err == nil {
			err = c.SetContact(ctx, []string{"admin@example.test"})
		}
		return err
	})
	try(func(ctx context.Context) error {
		c, err := i.CA(server, w.bundle)
		if err == nil {
			err = c.Rollover(ctx)
		}
		return err
	})
	try(func(ctx context.Context) error { _, err := i.Revoke(ctx, Revocation{CertPath: res.Cert}); return err })
	return errs
}

// clearTextPort counts the connections to the address of an http URL.
func clearTextPort(t *testing.T) (url string, connections *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	connections = new(atomic.Int64)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			conn.Close()
		}
	}()
	return "http://" + l.Addr().String() + "/acme/x", connections
}

// crowd is how many lies run at a time: most of them end in a wait.
const crowd = 96

// A CA, or somebody in between, lies about each value of each object, one at a time. Nothing
// hangs or grows, no foreign control character gets anywhere, no request leaves in clear
// text, and only the ordered certificate is ever stored.
func TestHostileCA(t *testing.T) {
	mta.NotShort(t)
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // the test needs thousands of orders, not the disk
	}
	clearText, connections := clearTextPort(t)
	lies := everyLie(t, clearText)
	next := make(chan lie)
	var tellers sync.WaitGroup
	for range crowd {
		tellers.Go(func() {
			for l := range next {
				t.Run(l.String(), func(t *testing.T) { toldALie(t, l) })
			}
		})
	}
	for _, l := range lies {
		next <- l
	}
	close(next)
	tellers.Wait()
	if n := connections.Load(); n > 0 {
		t.Errorf("%d connections in clear text", n)
	}
	var mem runtime.MemStats // and not the resident set: the race detector's shadow is several times the heap
	runtime.ReadMemStats(&mem)
	if mem.HeapSys > 1<<30 {
		t.Errorf("the heap grew to %d MiB", mem.HeapSys>>20)
	}
	t.Logf("%d lies, all of them heard; a heap of %d MiB", len(lies), mem.HeapSys>>20)
}

func toldALie(t *testing.T, l lie) {
	patience := patience
	if strings.HasPrefix(l.what, "leaf: ") || strings.HasPrefix(l.what, "chain: ") {
		patience = unhurried // such an order ends by itself
	}
	told := make(chan struct{})
	tell := sync.OnceFunc(func() { close(told) })
	mailed := slices.Contains([]string{"order", "authz", "challenge"}, l.resource) // other resources need no mail
	w := newWorld(t, testca.Config{Sign: testca.SignNone, AlwaysReady: !mailed, Tamper: tamper(func(resource string, r *httptest.ResponseRecorder) {
		if resource == l.resource && l.apply(r) {
			tell()
		}
	})})
	ended := make(chan []error, 1)
	go func() { ended <- w.deal(t, told, patience) }()
	select {
	case errs := <-ended:
		for _, err := range errs {
			checkEnd(t, err)
		}
	case <-time.After(2 * unhurried):
		t.Fatal("still running")
	}
	select {
	case <-told:
	default:
		t.Errorf("nobody heard it\n%s", w.transcript())
	}
	for _, line := range strings.Split(w.transcript(), "\n") {
		if !printable.Text(line) || len(line) > 2*maxStep {
			t.Errorf("said %.300q", line)
		}
	}
	w.checkFiles(t)
	w.checkStored(t)
}

// checkEnd checks that the error blames the CA, not the caller, and is fit for people.
func checkEnd(t *testing.T, err error) {
	t.Helper()
	switch failure.KindOf(err) {
	case failure.KindNone, failure.KindFailed, failure.KindLater:
	default:
		t.Errorf("kind %d: %v", failure.KindOf(err), err)
	}
	if err != nil && len(err.Error()) > 10*ca.MaxWord+maxStep {
		t.Errorf("%d bytes: %.300q", len(err.Error()), err)
	}
}

// checkFiles checks that every file but the containers is text, and holds no foreign
// characters.
func (w *world) checkFiles(t *testing.T) {
	err := filepath.WalkDir(w.dir.Path(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".p12" {
			return err
		}
		text := strings.ReplaceAll(string(mustRead(t, path)), "\n", "")
		if !printable.Text(text) || !printable.Text(path) || len(text) > 64<<10 {
			t.Errorf("%q holds %d bytes: %.300q", path, len(text), text)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// checkStored checks a certificate with the standard library alone.
func (w *world) checkStored(t *testing.T) {
	dir := w.dir.Path("certs", alice)
	if !store.Exists(dir) {
		return
	}
	key, err := cert.ParseKey(mustRead(t, filepath.Join(dir, store.KeyFile)))
	if err != nil {
		t.Fatal(err)
	}
	rest := mustRead(t, filepath.Join(dir, store.FullchainFile))
	for n := 0; len(rest) > 0; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 || n == 10 {
			t.Fatal("the stored chain holds something else")
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			continue
		}
		wrong := len(leaf.EmailAddresses) != 1 || !strings.EqualFold(leaf.EmailAddresses[0], alice) ||
			len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.URIs) > 0 || !cert.SamePublicKey(leaf.PublicKey, key) || leaf.IsCA ||
			slices.ContainsFunc(leaf.ExtKeyUsage, func(u x509.ExtKeyUsage) bool {
				return u != x509.ExtKeyUsageEmailProtection && u != x509.ExtKeyUsageClientAuth
			}) || !time.Now().Before(leaf.NotAfter)
		if wrong {
			t.Errorf("stored: %q %q %v, CA %v, until %s", leaf.EmailAddresses, leaf.DNSNames, leaf.ExtKeyUsage, leaf.IsCA, leaf.NotAfter)
		}
	}
}
