package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

const (
	checkDomain  = "example.test"
	checkAddress = "alice@" + checkDomain
)

// ourMilter is the line of contrib/postfix-milter.
const ourMilter = "{ unix:postseal/milter.sock, default_action=accept }"

// world is a mail server on which all is as it should be: Postfix with opendkim and
// postseal-milter in it, the state directory, the configuration file, a CA, a DNS.
type world struct {
	t      *testing.T
	user   *mta.User // the mail half runs as
	bin    string
	ca     *testca.CA
	dns    *dnsServer
	post   *mta.Instance
	state  string
	config string
	n      int // directories made so far
}

func newWorld(t *testing.T) *world {
	t.Helper()
	mta.Need(t, "postfix", "opendkim")
	w := &world{t: t, user: mta.NewUser(t), bin: mta.Build(t, "postseal", "postseal-check", "postseal-milter"), dns: newDNS(t)}
	var err error
	w.ca, err = testca.Start(context.Background(), testca.Config{Dir: t.TempDir()})
	w.must(err)
	t.Cleanup(func() { w.ca.Close() })
	w.publish()
	w.post = mta.StartPostfix(t, mta.Postfix{
		Users: []string{"alice"}, Relay: w.ca.SMTPAddr,
		Milters: "{ unix:opendkim/opendkim.sock, default_action=accept }, " + ourMilter,
	})
	w.state = w.newState()
	w.config = w.write("postseal.toml", 0o644, fmt.Sprintf("smtp = %q\n", "smtp://"+w.post.SMTPAddr))
	w.startOpendkim()
	w.startMilter(w.post)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// write writes a file that belongs to the user of the mail half.
func (w *world) write(name string, mode os.FileMode, content string) string {
	w.t.Helper()
	w.n++
	dir := filepath.Join(w.user.Home, fmt.Sprint(w.n))
	w.must(os.Mkdir(dir, 0o755))
	path := filepath.Join(dir, name)
	w.must(os.WriteFile(path, []byte(content), mode))
	w.must(os.Chown(path, w.user.UID, w.user.GID))
	w.must(os.Chmod(path, mode))
	return path
}

// newState makes a state directory as "postseal" does where the group of the mail
// half exists.
func (w *world) newState() string {
	w.t.Helper()
	w.n++
	top := filepath.Join(w.user.Home, fmt.Sprint(w.n))
	w.must(os.Mkdir(top, 0o750))
	w.must(os.Chown(top, -1, w.user.GID))
	for name, mode := range map[string]os.FileMode{
		"accounts": 0o700, "orders": 0o700, "certs": 0o700,
		"pending": os.ModeSetgid | 0o750, "answers": os.ModeSetgid | os.ModeSticky | 0o770,
	} {
		path := filepath.Join(top, name)
		w.must(os.Mkdir(path, 0o700))
		if mode&os.ModeSetgid != 0 {
			w.must(os.Chown(path, -1, w.user.GID))
		}
		w.must(os.Chmod(path, mode))
	}
	return top
}

var checkKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// keyPEM and keyRecord are the two halves of a DKIM key as admins keep them.
func keyPEM(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func keyRecord(key *rsa.PrivateKey) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	p := base64.StdEncoding.EncodeToString(der)
	return fmt.Sprintf(`"v=DKIM1; k=rsa; p=%s" "%s"`, p[:200], p[200:])
}

// publish makes the DNS of the domain.
func (w *world) publish() {
	w.dns.set(checkDomain, "MX", "10 mail."+checkDomain+".")
	w.dns.set("mail._domainkey."+checkDomain, "TXT", keyRecord(checkKey()))
}

// signList is that of contrib/postfix-opendkim.
const signList = "From,Sender,Reply-To,To,Cc,Subject,Date,In-Reply-To,References,Message-ID,Content-Type,Content-Transfer-Encoding"

func (w *world) startOpendkim() {
	w.t.Helper()
	dir := filepath.Join(w.post.QueueDir, "opendkim")
	w.must(os.Mkdir(dir, 0o755))
	socket := filepath.Join(dir, "opendkim.sock")
	conf := w.write("opendkim.conf", 0o644, strings.Join([]string{
		"UMask 000", "Socket local:" + socket, "Mode s", "Canonicalization relaxed/simple", "InternalHosts 127.0.0.1",
		"Domain " + checkDomain, "Selector mail", "KeyFile " + w.write("mail.private", 0o600, keyPEM(checkKey())),
		"RequireSafeKeys no", "SignHeaders " + signList, "OversignHeaders " + signList, "",
	}, "\n"))
	path, err := exec.LookPath("opendkim")
	if err != nil {
		path = "/usr/sbin/opendkim"
	}
	w.daemon(exec.Command(path, "-f", "-x", conf), socket)
}

// startMilter runs postseal-milter in a Postfix.
func (w *world) startMilter(post *mta.Instance) (socket string) {
	w.t.Helper()
	socket = filepath.Join(post.SocketDir(w.user.UID), "milter.sock")
	cmd := exec.Command(filepath.Join(w.bin, "postseal-milter"), "--config", w.config, "--state", w.state, "--listen", "unix:"+socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: w.credential(w.user.UID, w.user.GID)}
	w.daemon(cmd, socket)
	return socket
}

func (w *world) credential(uid, gid int) *syscall.Credential {
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// daemon runs a program until the test ends; it listens when daemon returns.
func (w *world) daemon(cmd *exec.Cmd, socket string) {
	w.t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	w.must(cmd.Start())
	w.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("%s said:\n%s", cmd.Path, said.String())
		}
	})
	mta.WaitFor(w.t, socket, func() bool {
		conn, err := net.DialTimeout("unix", socket, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// mailDir is where Postfix delivers alice's mail.
func (w *world) mailDir(post *mta.Instance) string {
	return filepath.Join(post.Dir, "mail", checkAddress)
}

// check runs "postseal check" as an admin does, and returns its exit status and
// what it said. What args say counts, else all is as it should be.
func (w *world) check(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	return w.checkAs(t, 0, 0, args...)
}

func (w *world) checkAs(t *testing.T, uid, gid int, args ...string) (status int, out string) {
	t.Helper()
	// The last of two equal flags counts.
	args = append([]string{
		"--config", w.config, "--state", w.state, "--server", w.ca.DirectoryURL, "--ca-bundle", w.ca.RootFile,
		"--postfix-config", w.post.ConfDir, "--mail-user", w.user.Name, "--resolver", w.dns.addr,
	}, args...)
	return w.run(t, uid, gid, args...)
}

// run runs "postseal check" as a user.
func (w *world) run(t *testing.T, uid, gid int, args ...string) (status int, out string) {
	t.Helper()
	var both bytes.Buffer
	cmd := exec.Command(filepath.Join(w.bin, "postseal"), append([]string{"check"}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &both, &both, "/"
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: w.credential(uid, gid)}
	}
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), both.String()
}

// dnsServer is a DNS server on loopback. A name with records of another type only
// has an empty answer.
type dnsServer struct {
	addr string

	mu      sync.Mutex
	records map[string][]dns.RR
	broken  map[string]int // code of the answer
}

func newDNS(t *testing.T) *dnsServer {
	t.Helper()
	s := &dnsServer{records: map[string][]dns.RR{}, broken: map[string]int{}}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = tcp.Addr().String()
	udp, err := net.ListenPacket("udp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{Listener: tcp, Handler: s}, {PacketConn: udp, Handler: s}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
	return s
}

// set adds a record in the form of a zone file.
func (s *dnsServer) set(name, kind, data string) {
	rr, err := dns.NewRR(fmt.Sprintf("%s. 0 IN %s %s", name, kind, data))
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[name+"."] = append(s.records[name+"."], rr)
}

// fail makes all questions about a name fail.
func (s *dnsServer) fail(name string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[name+"."] = code
}

func (s *dnsServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	res := new(dns.Msg).SetReply(q)
	res.RecursionAvailable = true
	name := strings.ToLower(q.Question[0].Name)
	s.mu.Lock()
	records, exists := s.records[name]
	res.Rcode = s.broken[name]
	s.mu.Unlock()
	if !exists && res.Rcode == 0 {
		res.Rcode = dns.RcodeNameError
	}
	for _, rr := range records {
		if rr.Header().Rrtype == q.Question[0].Qtype {
			res.Answer = append(res.Answer, rr)
		}
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		res.Truncate(size)
	}
	w.WriteMsg(res)
}
