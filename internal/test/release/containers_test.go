//go:build packages

package release

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// service is a service of a Compose file, as the loader of Compose understands it. A key
// that podman is not told of below would be untested, so there may be no other.
type service struct {
	Image, Restart, Hostname string
	Command                  []string
	Entrypoint               []string
	Networks                 map[string]any
	Profiles                 []string
	Volumes                  []struct {
		Type, Source, Target string
		ReadOnly             bool `json:"read_only"`
		Bind, Volume         struct{}
	}
	ReadOnly    bool     `json:"read_only"`
	CapDrop     []string `json:"cap_drop"`
	SecurityOpt []string `json:"security_opt"`
	StopGrace   string   `json:"stop_grace_period"`
	MemLimit    string   `json:"mem_limit"`
	PidsLimit   int      `json:"pids_limit"`
	Healthcheck *struct {
		Test              []string
		Interval, Timeout string
	}
}

// flags returns what podman is told of a service. All containers have the loopback of the
// test: its CA, its DNS and its Postfix are there.
func (s service) flags(t *testing.T) []string {
	t.Helper()
	args := []string{"--network", "host", "--memory", s.MemLimit, "--pids-limit", strconv.Itoa(s.PidsLimit)}
	if s.Hostname != "" {
		args = append(args, "--hostname", s.Hostname)
	}
	if s.ReadOnly {
		args = append(args, "--read-only", "--read-only-tmpfs=false")
	}
	for _, c := range s.CapDrop {
		args = append(args, "--cap-drop", c)
	}
	for _, o := range s.SecurityOpt {
		args = append(args, "--security-opt", strings.TrimSuffix(o, ":true"))
	}
	for _, v := range s.Volumes {
		mount := v.Source + ":" + v.Target
		if v.ReadOnly {
			mount += ":ro"
		}
		args = append(args, "-v", mount)
	}
	if h := s.Healthcheck; h != nil {
		test, err := json.Marshal(h.Test[1:]) // podman adds the CMD
		if err != nil {
			t.Fatal(err)
		}
		// Nobody asks but the test: podman has timers of systemd do that.
		args = append(args, "--health-cmd", string(test), "--health-interval", "disable", "--health-timeout", h.Timeout)
	}
	return args
}

// composed reads the Compose files of a project in dir, ours the last.
func composed(t *testing.T, dir string) map[string]service {
	t.Helper()
	cmd := exec.Command("go", "run", "./manifests", "compose", filepath.Join(dir, "compose.yaml"), filepath.Join(dir, "compose.postseal.yaml"))
	cmd.Dir, cmd.Stderr = "../../../.ci", os.Stderr
	cmd.Env = append(os.Environ(), "POSTSEAL_VERSION="+testVersion)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var project struct {
		Services map[string]json.RawMessage
	}
	if err := json.Unmarshal(out, &project); err != nil {
		t.Fatal(err)
	}
	all := map[string]service{}
	for name, raw := range project.Services {
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.DisallowUnknownFields()
		var s service
		if err := d.Decode(&s); err != nil {
			t.Fatalf("service %s: %v", name, err)
		}
		all[name] = s
	}
	return all
}

// engine is a podman with a store of its own.
type engine struct {
	t   *testing.T
	dir string
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	mta.Need(t, "podman", "crun", "unshare")
	e := &engine{t, t.TempDir()}
	e.write("storage.conf", "[storage]\ndriver = \"vfs\"\ngraphroot = \""+e.dir+"/graph\"\nrunroot = \""+e.dir+"/run\"\n")
	// A container of a machine that is one itself may not raise limits.
	e.write("containers.conf", "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n"+
		"[engine]\nruntime = \"crun\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n")
	return e
}

func (e *engine) write(name, text string) {
	e.t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, name), []byte(text), 0o644); err != nil {
		e.t.Fatal(err)
	}
}

// podman runs podman and returns its exit status and what it printed. crun refuses a
// machine with both versions of cgroups, so the second is out of its sight.
func (e *engine) podman(args ...string) (int, string) {
	e.t.Helper()
	script := `umount /sys/fs/cgroup/unified 2>/dev/null; exec podman "$@"`
	cmd := exec.Command("unshare", append([]string{"-m", "sh", "-c", script, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+e.dir+"/containers.conf", "CONTAINERS_STORAGE_CONF="+e.dir+"/storage.conf")
	// Not a pipe, which conmon would hold open.
	out, err := os.CreateTemp(e.dir, "out-")
	if err != nil {
		e.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		e.t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		e.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

func (e *engine) must(args ...string) string {
	e.t.Helper()
	status, out := e.podman(args...)
	if status != 0 {
		e.t.Fatalf("podman %q: exit %d\n%s", args, status, out)
	}
	return out
}

// start starts a container, which ends with the test.
func (e *engine) start(name string, flags []string, image string) {
	e.t.Helper()
	e.must(slices.Concat([]string{"run", "-d", "--name", name}, flags, []string{image})...)
	e.t.Cleanup(func() {
		if e.t.Failed() {
			_, log := e.podman("logs", name)
			e.t.Logf("%s says:\n%s", name, log)
		}
		e.podman("rm", "-f", "-t", "0", name)
	})
}

// volume returns where the files of a named volume are.
func (e *engine) volume(name string) string {
	return filepath.Join(e.dir, "graph/volumes", name, "_data")
}

// loaded is an engine with the two images.
func loaded(t *testing.T) *engine {
	t.Helper()
	e := newEngine(t)
	for _, image := range firstRelease(t).images {
		e.must("load", "-q", "-i", image)
	}
	return e
}

// world is what is outside the containers: the CA, at its strictest, and Postfix, which
// asks a milter at a port of loopback.
type world struct {
	ca   *testca.CA
	port string // of the milter
	smtp string // HOST:PORT of Postfix
}

func startWorld(t *testing.T) world {
	t.Helper()
	ca, err := testca.Start(context.Background(), testca.Config{Strict: true, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ca.Close() })
	port := mta.FreePort(t)
	post := mta.StartPostfix(t, mta.Postfix{Users: []string{"alice", "bob"}, Relay: ca.SMTPAddr,
		Milters: "{ inet:127.0.0.1:" + port + ", default_action=accept }"})
	ca.SetRelay(post.SMTPAddr)
	return world{ca, port, post.SMTPAddr}
}

// adapt puts the addresses of the world into a file of contrib/containers.
func (w world) adapt(text string, more ...string) string {
	return strings.NewReplacer(append(more, "inet:8891@127.0.0.1", "inet:"+w.port+"@127.0.0.1", "inet:8891@0.0.0.0", "inet:"+w.port+"@127.0.0.1",
		"smtp://postfix:25", "smtp://"+w.smtp, "smtp://localhost:25", "smtp://"+w.smtp, "example.org", "example.test")...).Replace(text)
}

// atCA are the flags for the CA, whose root a container has.
func (w world) atCA() []string {
	return []string{"-n", "--server", w.ca.DirectoryURL, "--ca-bundle", "/root.pem"}
}

func (w world) rootMount() []string { return []string{"-v", w.ca.RootFile + ":/root.pem:ro"} }

// wantGoodReplies wants the CA to have been content.
func (w world) wantGoodReplies(t *testing.T, n int) {
	t.Helper()
	replies := w.ca.Replies()
	if len(replies) != n {
		t.Errorf("%d replies, want %d", len(replies), n)
	}
	for _, r := range replies {
		if r.Verdict != testca.VerdictGood {
			t.Errorf("the CA says of the reply: %v", r.Verdict)
		}
	}
}

// The two images, run as the Compose file says, get a certificate: users, volumes,
// read-only roots, no capabilities, limits of memory.
func TestContainers(t *testing.T) {
	e, w := loaded(t), startWorld(t)
	services := composed(t, project(t, w))

	e.start("milter", services["milter"].flags(t), services["milter"].Image)
	mta.WaitFor(t, "the health check to succeed", func() bool {
		status, _ := e.podman("healthcheck", "run", "milter")
		return status == 0
	})

	postseal := services["postseal"]
	once := func(args ...string) (int, string) {
		return e.podman(slices.Concat([]string{"run", "--rm"}, w.rootMount(), postseal.flags(t), []string{postseal.Image}, args)...)
	}
	if status, out := once(append(w.atCA(), "cert", "--timeout", "60s", "-e", "alice@example.test")...); status != 0 {
		t.Fatalf("postseal cert: exit %d\n%s", status, out)
	}
	if status, out := once(append(w.atCA(), "enroll", "--timeout", "60s")...); status != 0 {
		t.Fatalf("postseal enroll: exit %d\n%s", status, out)
	}
	w.wantGoodReplies(t, 2)
	for _, name := range []string{"alice", "bob"} {
		e.wantFile("state/certs/"+name+"@example.test/privkey.pem", 0o600)
	}
	if status, out := once(postseal.Command...); status != 2 {
		t.Errorf("with nothing due: exit %d\n%s", status, out)
	}
	if status, out := once("status"); status != 0 || !strings.Contains(out, "alice@example.test") || !strings.Contains(out, "milter") {
		t.Errorf("postseal status: exit %d\n%s", status, out)
	}
	e.wantLimits(services["milter"])
	e.must("stop", "-t", "40", "milter")
	if code := strings.TrimSpace(e.must("inspect", "-f", "{{.State.ExitCode}}", "milter")); code != "0" {
		t.Errorf("the milter ended with %s", code)
	}
}

// project makes the directory of a mail server with Compose, from the files that the page
// has copied, changed as it says.
func project(t *testing.T, w world) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"compose.postseal.yaml", "postseal.toml"} {
		text, err := os.ReadFile(filepath.Join(containers, name))
		if err != nil {
			t.Fatal(err)
		}
		changed := w.adapt(string(text))
		if name == "postseal.toml" {
			changed = "resolver = \"" + w.ca.DNSAddr + "\"\n" + changed
		}
		put(t, filepath.Join(dir, name), changed, 0o644)
	}
	put(t, filepath.Join(dir, "compose.yaml"), "services:\n  postfix:\n    image: postfix\n", 0o644)
	put(t, filepath.Join(dir, "addresses"), mailboxes, 0o644)
	w.secret(t, filepath.Join(dir, "secrets/dkim.pem"), w.signingKey(t))
	return dir
}

// mailboxes is the list that enroll reads.
const mailboxes = "alice@example.test\nbob@example.test\n"

// signingKey makes a key that signs replies, and publishes its public half.
func (w world) signingKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	w.ca.SetTXT("s1._domainkey.example.test", "v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(der))
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// secret makes a file that only the group of both halves can read.
func (w world) secret(t *testing.T, path, text string) {
	t.Helper()
	put(t, path, text, 0o440)
	if err := os.Chown(path, 0, 8823); err != nil {
		t.Fatal(err)
	}
}

// wantFile wants a file of the half that orders, which nobody else can read.
func (e *engine) wantFile(name string, mode fs.FileMode) {
	e.t.Helper()
	volume, path, _ := strings.Cut(name, "/")
	info, err := os.Stat(filepath.Join(e.volume(volume), path))
	if err != nil {
		e.t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 8824 || info.Mode() != mode {
		e.t.Errorf("%s: %v of %d", name, info.Mode(), uid)
	}
}

// wantLimits wants the milter to be far from its limit of memory, and to see no key.
func (e *engine) wantLimits(milter service) {
	e.t.Helper()
	for _, v := range milter.Volumes {
		if v.Target == "/var/lib/postseal" || strings.HasSuffix(v.Source, "state") {
			e.t.Errorf("the milter sees %s, where the keys are", v.Source)
		}
	}
	pid := strings.TrimSpace(e.must("inspect", "-f", "{{.State.Pid}}", "milter"))
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		e.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	high, _ := strconv.Atoi(strings.Fields(rest)[0])
	limit, _ := strconv.Atoi(milter.MemLimit)
	if e.t.Logf("the milter had %d KB at most", high); high*1024 > limit/3 {
		e.t.Errorf("the limit is %d bytes", limit)
	}
}
