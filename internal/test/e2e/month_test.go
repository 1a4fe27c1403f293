package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// "make site" has 4,000 and 30; what does not depend on the size is seen with few.
var (
	siteUsers = flag.Int("site.users", 60, "how many mailboxes TestMonth begins with")
	siteDays  = flag.Int("site.days", 6, "how long TestMonth goes on, in days of its own")
)

// Time goes in steps: at each, the timers of enroll and renew fire.
const (
	step        = 3 * time.Hour
	stepsPerDay = 8
)

var siteDomains = []string{"a.test", "b.test", "c.test"}

var siteKinds = []string{"sign", "encrypt"}

// town is a site with mailboxes that come and go: Dovecot knows them, Postfix takes their
// mail, and a CA allows so many orders in three hours. Nobody runs a command by hand.
type town struct {
	*site
	postseal string // compiled with the test's clock
	users    string // Dovecot's file
	limit    int    // of orders in a step
	start    time.Time

	mu        sync.Mutex
	steps     int // that have passed
	window    int // orders in this one
	away      bool
	mailboxes map[string]int   // and since which step
	left      map[string]int   // when they went
	issued    map[string][]int // in which steps
	serials   map[string]string
	revoked   map[string]int // certificates, by address
	refused   int            // orders over the limit
	orders    []int          // of each step
}

func newTown(t *testing.T) *town {
	w := &town{
		start: time.Now(), limit: max(1, 300**siteUsers/4000), mailboxes: map[string]int{}, left: map[string]int{},
		issued: map[string][]int{}, serials: map[string]string{}, revoked: map[string]int{},
	}
	w.site = newSite(t, testca.Config{Strict: true, ARIPoll: 24 * time.Hour, Now: w.now, Tamper: w.gate, OnEvent: w.note})
	post := mta.StartPostfix(t, mta.Postfix{Milters: milters, Relay: w.ca.SMTPAddr, MainCF: []string{
		"virtual_mailbox_domains = " + strings.Join(siteDomains, " "), "virtual_mailbox_maps = static:all", "virtual_transport = discard:",
	}})
	w.ca.SetRelay(post.SMTPAddr)
	w.site.configure(post.SMTPAddr)
	w.startDovecot()
	w.configure()
	w.startMilter(post.SocketDir(w.user.UID))
	w.build()
	return w
}

// now is the time in the town.
func (w *town) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(time.Duration(w.steps) * step)
}

// build compiles postseal with the clock of the test in place of its own.
func (w *town) build() {
	root := mta.Root(w.t)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(root, "cmd/postseal/clock.go"): filepath.Join(root, "internal/test/e2e/testdata/clock.go.txt"),
	}})
	w.must(err)
	file := filepath.Join(w.t.TempDir(), "overlay.json")
	w.must(os.WriteFile(file, overlay, 0o600))
	w.postseal = filepath.Join(w.t.TempDir(), "postseal")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-overlay", file, "-o", w.postseal, "postseal/cmd/postseal")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
}

// startDovecot starts a Dovecot that knows the mailboxes and serves nobody.
func (w *town) startDovecot() {
	w.t.Helper()
	mta.Need(w.t, "dovecot", "doveadm")
	dir := w.t.TempDir()
	w.users = filepath.Join(dir, "users")
	conf := filepath.Join(dir, "dovecot.conf")
	w.must(os.WriteFile(w.users, nil, 0o644))
	w.must(os.WriteFile(conf, fmt.Appendf(nil, `base_dir = %[1]s/run
state_dir = %[1]s/run
log_path = %[1]s/log
protocols =
ssl = no
mail_location = maildir:%[1]s/mail/%%d/%%n
passdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
}
userdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
  default_fields = uid=65534 gid=65534 home=%[1]s/mail/%%d/%%n
}
`, dir), 0o644))
	cmd := exec.Command("dovecot", "-F", "-c", conf)
	w.must(cmd.Start())
	w.t.Cleanup(func() {
		_ = exec.Command("doveadm", "-c", conf, "stop").Run()
		_ = cmd.Wait()
	})
	mta.WaitFor(w.t, "Dovecot", func() bool { return exec.Command("doveadm", "-c", conf, "user", "*@a.test").Run() == nil })
}

// configure adds what the admin of such a site writes once.
func (w *town) configure() {
	w.t.Helper()
	text, err := os.ReadFile(w.config)
	w.must(err)
	conf := filepath.Join(filepath.Dir(w.users), "dovecot.conf")
	var more strings.Builder
	key := signingKey()
	for _, d := range siteDomains {
		w.ca.SetTXT(selector+"._domainkey."+d, key.record)
		fmt.Fprintf(&more, "[[dkim]]\ndomain = %q\nselector = %q\nkey = %q\n", d, selector, filepath.Join(w.dir, "dkim.pem"))
	}
	top := fmt.Sprintf("server = %q\nca-bundle = %q\nagree-tos = true\nkey-type = \"p256\"\njobs = 32\nmax-answers = [1000000, 1000000]\n", w.ca.DirectoryURL, w.ca.RootFile)
	fmt.Fprintf(&more, `[ca."*"]
settle = "100ms"
[kind.sign]
usage = ["digitalSignature"]
[kind.encrypt]
usage = ["keyAgreement"]
[[enroll]]
domain = "a.test"
source = "doveadm -c %[1]s user '*@a.test'"
kinds = ["sign", "encrypt"]
exclude = ["postmaster@*"]
gone = "revoke"
grace = "%[2]dh"
[[enroll]]
domain = "*"
source = "doveadm -c %[1]s user '*@b.test' && doveadm -c %[1]s user '*@c.test'"
kinds = ["sign", "encrypt"]
gone = "revoke"
grace = "%[2]dh"
`, conf, w.grace()*3)
	w.must(os.WriteFile(w.config, []byte(top+string(text)+more.String()), 0o600))
	w.must(os.Chown(w.config, -1, w.user.GID))
	w.must(os.Chmod(w.config, 0o640))
}

// grace is a sixth of the time, in steps.
func (w *town) grace() int { return *siteDays * stepsPerDay / 6 }

// gate is what the CA allows: so many orders in a step, none for some addresses, and
// nothing while it is away.
func (w *town) gate(ca http.Handler) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		w.mu.Lock()
		away := w.away
		w.mu.Unlock()
		if away {
			panic(http.ErrAbortHandler)
		}
		if in.URL.Path != "/acme/new-order" {
			ca.ServeHTTP(out, in)
			return
		}
		body, _ := io.ReadAll(in.Body)
		in.Body = io.NopCloser(bytes.NewReader(body))
		switch {
		case bytes.Contains(payload(body), []byte("never")):
			problem(out, http.StatusForbidden, "rejectedIdentifier")
		case !w.take():
			out.Header().Set("Retry-After", fmt.Sprint(int(step/time.Second)))
			problem(out, http.StatusTooManyRequests, "rateLimited")
		default:
			answer := &watched{ResponseWriter: out}
			ca.ServeHTTP(answer, in)
			if answer.status != http.StatusCreated {
				w.giveBack()
			}
		}
	})
}

func (w *town) take() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.window >= w.limit {
		w.refused++
		return false
	}
	w.window++
	return true
}

func (w *town) giveBack() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.window--
}

type watched struct {
	http.ResponseWriter
	status int
}

func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func payload(jws []byte) []byte {
	var parts struct{ Payload string }
	_ = json.Unmarshal(jws, &parts)
	text, _ := base64.RawURLEncoding.DecodeString(parts.Payload)
	return text
}

func problem(out http.ResponseWriter, status int, kind string) {
	out.Header().Set("Content-Type", "application/problem+json")
	out.WriteHeader(status)
	fmt.Fprintf(out, `{"type":"urn:ietf:params:acme:error:%s","detail":"not now, or never"}`, kind)
}

// note keeps the CA's books.
func (w *town) note(e testca.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case testca.EventIssued:
		addr := e.Identifiers[0]
		w.issued[addr] = append(w.issued[addr], w.steps)
		w.serials[e.Serial] = addr
	case testca.EventRevoked:
		w.revoked[w.serials[e.Serial]]++
	}
}

// writeUsers tells Dovecot who has a mailbox. Its clock has seconds, and ours goes on.
func (w *town) writeUsers(addrs []string) {
	w.t.Helper()
	var text strings.Builder
	for _, addr := range addrs {
		text.WriteString(addr + ":{PLAIN}x\n")
	}
	tmp := w.users + ".new"
	w.must(os.WriteFile(tmp, []byte(text.String()), 0o644))
	w.must(os.Chtimes(tmp, w.now(), w.now()))
	w.must(os.Rename(tmp, w.users))
}

func (w *town) everybody() (addrs []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for addr := range w.mailboxes {
		addrs = append(addrs, addr)
	}
	slices.Sort(addrs)
	return append(addrs, "postmaster@a.test")
}

// come makes mailboxes.
func (w *town) come(n int, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range n {
		w.mailboxes[fmt.Sprintf("%s%d@%s", name, k, siteDomains[k%len(siteDomains)])] = w.steps
	}
}

// leave removes some.
func (w *town) leave(n int) {
	all := w.everybody()
	rand.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, addr := range all {
		if n == 0 {
			return
		}
		if _, is := w.mailboxes[addr]; is && !strings.HasPrefix(addr, "never") {
			delete(w.mailboxes, addr)
			w.left[addr] = w.steps
			n--
		}
	}
}

// pass lets a step pass.
func (w *town) pass() {
	w.mu.Lock()
	w.steps++
	w.orders = append(w.orders, w.window)
	w.window = 0
	ahead := time.Duration(w.steps) * step
	w.mu.Unlock()
	w.must(os.WriteFile(w.clock(), fmt.Append(nil, int(ahead/time.Second)), 0o600))
}

func (w *town) clock() string { return filepath.Join(filepath.Dir(w.users), "clock") }

// timer does what a timer of systemd does, and kills the run after a while if that is not 0.
func (w *town) timer(command string, kill time.Duration) (status int) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, w.postseal, command, "--config", w.config, "--non-interactive")
	cmd.Env = append(os.Environ(), "TEST_CLOCK="+w.clock())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if kill > 0 {
		time.AfterFunc(kill, cancel)
	}
	_ = cmd.Run()
	status = cmd.ProcessState.ExitCode()
	if !slices.Contains([]int{-1, 0, 1, 2, 75}, status) {
		w.t.Errorf("%s: exit %d\n%s", command, status, out.String())
	}
	return status
}

func (w *town) certificates() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, issued := range w.issued {
		n += len(issued)
	}
	return n
}

// memory returns what enroll remembers.
func (w *town) memory() string {
	all, err := filepath.Glob(filepath.Join(w.state, "certs/.enroll/*.json"))
	w.must(err)
	var text strings.Builder
	for _, file := range all {
		data, err := os.ReadFile(file)
		w.must(err)
		text.Write(data)
	}
	return text.String()
}

// A month of a site: people come and go, some addresses always fail, the CA limits orders,
// is away for two nights and recalls certificates, and one night the list of mailboxes is
// empty. Timers are all that runs.
func TestMonth(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	days, part := *siteDays, func(share float64) int { return int(share * float64(*siteDays)) }
	w.come(*siteUsers, "user")
	w.come(max(1, *siteUsers/100), "never")
	w.pass()
	w.writeUsers(w.everybody())
	recalled := recall{}
	for day := range days {
		for hour := range stepsPerDay {
			night := hour == 0
			w.setAway(night && (day == part(1./3) || day == part(2./3)))
			if night && day == part(0.5) {
				w.emptyNight()
			}
			if hour == 1 && day > 0 {
				w.come(max(1, *siteUsers/200), fmt.Sprintf("day%d.", day))
				w.leave(max(1, *siteUsers*3/800))
				w.writeUsers(w.everybody())
			}
			if hour == 2 && day == part(0.55) {
				recalled = w.recall(stepsPerDay / 2)
			}
			kill := time.Duration(0)
			if rand.N(10) == 0 {
				kill = 100*time.Millisecond + rand.N(time.Second)
			}
			w.timer("enroll", kill)
			w.timer("renew", 0)
			w.pass()
		}
	}
	for range stepsPerDay { // what was killed last is resumed
		w.timer("enroll", 0)
		w.timer("renew", 0)
		w.pass()
	}
	w.account(recalled)
	w.wantReasons()
}

// wantReasons asks who has none, and why.
func (w *town) wantReasons() {
	w.t.Helper()
	cmd := exec.Command(w.postseal, "status", "--failed", "--json", "--config", w.config)
	cmd.Env = append(os.Environ(), "TEST_CLOCK="+w.clock())
	out, err := cmd.Output()
	w.must(err)
	var status struct {
		Without []struct {
			Email, Kind, Reason string
			Failures            int
		}
	}
	w.must(json.Unmarshal(out, &status))
	for _, a := range status.Without {
		if !strings.HasPrefix(a.Email, "never") || a.Failures < 2 || !strings.Contains(a.Reason, "rejectedIdentifier") {
			w.t.Errorf("without a certificate: %+v", a)
		}
	}
	if want := len(siteKinds) * max(1, *siteUsers/100); len(status.Without) != want {
		w.t.Errorf("%d are without a certificate, want %d", len(status.Without), want)
	}
}

func (w *town) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

func (w *town) emptyNight() {
	w.t.Helper()
	before, memory := w.certificates(), w.memory()
	w.writeUsers(nil)
	if status := w.timer("enroll", 0); status != 1 {
		w.t.Errorf("an empty source: exit %d", status)
	}
	if w.certificates() != before || w.memory() != memory {
		w.t.Error("an empty source changed something")
	}
	w.writeUsers(w.everybody())
}

// recall is an incident at the CA.
type recall struct {
	step  int
	count map[string]int // certificates, by address
}

// recall recalls what was issued in the first steps.
func (w *town) recall(steps int) recall {
	w.mu.Lock()
	r := recall{w.steps, map[string]int{}}
	for addr, issued := range w.issued {
		for _, at := range issued {
			if at <= steps {
				r.count[addr]++
			}
		}
	}
	w.mu.Unlock()
	w.ca.Recall(w.start.Add(time.Duration(steps)*step + step/2))
	return r
}

// account counts at the end.
func (w *town) account(r recall) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var without, twice, renewedLeavers, notRevoked, recalls, unmoved int
	first, last, slowest := 1<<30, 0, 0
	for addr, since := range w.mailboxes {
		if strings.HasPrefix(addr, "never") {
			if len(w.issued[addr]) > 0 {
				w.t.Errorf("%s has a certificate", addr)
			}
			continue
		}
		issued := w.issued[addr]
		for _, kind := range siteKinds {
			if _, err := os.Stat(filepath.Join(w.state, "certs", addr+","+kind, "cert.pem")); err != nil {
				without++
			}
		}
		if want := len(siteKinds) + r.count[addr]; len(issued) > want {
			twice++
			w.t.Errorf("%s: %d certificates, of steps %v, want %d", addr, len(issued), issued, want)
		}
		if n := r.count[addr]; n > 0 {
			recalls += n
			again := issued[min(len(siteKinds), len(issued)):]
			unmoved += n - len(again)
			for _, at := range again {
				first, last = min(first, at), max(last, at)
			}
		} else if len(issued) >= len(siteKinds) && since > 1 {
			slowest = max(slowest, issued[len(siteKinds)-1]-since)
		}
	}
	grace := w.grace() + 1
	for addr, at := range w.left {
		if last := slices.Max(append(w.issued[addr], 0)); last > at+grace {
			renewedLeavers++
			w.t.Errorf("%s left in step %d and got a certificate in step %d", addr, at, last)
		}
		if w.steps-at > grace+stepsPerDay && w.revoked[addr] < min(len(w.issued[addr]), len(siteKinds)) {
			notRevoked++
			w.t.Errorf("%s left in step %d of %d: %d of %d certificates are revoked", addr, at, w.steps, w.revoked[addr], len(w.issued[addr]))
		}
	}
	replies := map[testca.Verdict]int{}
	for _, reply := range w.ca.Replies() {
		replies[reply.Verdict]++
	}
	total := 0
	for _, issued := range w.issued {
		total += len(issued)
	}
	fmt.Printf("a site of %d mailboxes, %d days: %d came, %d left; %d certificates, %d revoked; %d orders allowed in three hours, at most %d made, %d asked for beyond; replies %v\n",
		*siteUsers, *siteDays, len(w.mailboxes)+len(w.left)-*siteUsers, len(w.left), total, sum(w.revoked), w.limit, slices.Max(w.orders), w.refused, replies)
	fmt.Printf("without a certificate %d, ordered twice %d, leavers renewed %d, leavers not revoked %d; recalled %d, renewed from %d to %d hours after, not renewed %d; the slowest newcomer waited %d hours\n",
		without, twice, renewedLeavers, notRevoked, recalls, (first-r.step)*3, (last-r.step)*3, unmoved, slowest*3)
	fastest := (recalls/w.limit + 1) * 2 // newcomers need some, and renewals at night wait
	if without+unmoved > 0 || first-r.step > stepsPerDay || last-r.step > fastest+stepsPerDay || slowest > 3*stepsPerDay {
		w.t.Error("somebody has waited too long, or waits")
	}
	if replies[testca.VerdictDuplicate]+replies[testca.VerdictBad]+replies[testca.VerdictUnknown] > 0 || slices.Max(w.orders) > w.limit {
		w.t.Error("the CA was answered twice or wrongly, or its limit does not hold")
	}
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
