package challenge

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"

	"postseal/state"
)

var update = flag.Bool("update", false, "write the files of testdata/golden anew")

// received is the time of receipt in all files.
var received = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// A corpusCase makes one file of testdata/golden. An empty field means the value in a perfect
// challenge.
type corpusCase struct {
	name, why string
	edit      []edit // before the signature
	sign      []sig  // each goes on top of the earlier ones; nil means one good signature
	smime     *smimeSig
	after     []edit // on the way: the signature should reveal it
	bytes     func(string) string
	dns       map[string]string // replaces usual records; "" removes a name
	pending   []*state.Pending
	want      want
}

// want is the expected result of a case; the zero value is the usual reply.
type want struct {
	verdict Verdict
	reason  string
	lookups int // in addition to the one for each reply
	to      string
	token   string
	msgID   string // In-Reply-To; "-" means none
	record  int    // index of the answered record
}

func answered(lookups int) want { return want{verdict: Answered, lookups: lookups} }
func refused(lookups int, reason string) want {
	return want{verdict: Refused, lookups: lookups, reason: reason}
}

func later(lookups int, reason string) want {
	return want{verdict: Later, lookups: lookups, reason: reason}
}
func ignored(reason string) want { return want{verdict: None, reason: reason} }

// unsigned means no signature.
var unsigned = []sig{}

// draft is a message under construction.
type draft struct {
	fields []string // with folds, without the last CRLF
	body   string
}

type edit func(*draft)

func newDraft() *draft {
	return &draft{
		fields: []string{
			"From: " + caFrom,
			"To: " + alice,
			"Subject: ACME: " + part1,
			"Date: " + received.Add(-30*time.Second).Format(time.RFC1123Z),
			"Message-ID: <challenge-1@ca.example>",
			"Auto-Submitted: auto-generated; type=acme",
			"MIME-Version: 1.0",
			"Content-Type: text/plain; charset=utf-8",
		},
		body: "Somebody has ordered a certificate for this address.\r\nIf it was not you, ignore this message.\r\n",
	}
}

func (d *draft) with(edits ...edit) *draft {
	for _, e := range edits {
		e(d)
	}
	return d
}

func (d *draft) String() string { return strings.Join(d.fields, "\r\n") + "\r\n\r\n" + d.body }

// readDraft splits a message into a draft.
func readDraft(mail string) *draft {
	header, body, _ := strings.Cut(mail, "\r\n\r\n")
	return &draft{fields: regexp.MustCompile(`\r\n\b`).Split(header, -1), body: body}
}

func (d *draft) index(name string) int {
	for i, f := range d.fields {
		if own, _, _ := strings.Cut(f, ":"); strings.EqualFold(own, name) {
			return i
		}
	}
	return -1
}

// set replaces the value of a field, or adds the field below the others.
func set(name, value string) edit {
	return func(d *draft) {
		if i := d.index(name); i >= 0 {
			d.fields[i] = name + ": " + value
		} else {
			d.fields = append(d.fields, name+": "+value)
		}
	}
}

func del(name string) edit {
	return func(d *draft) {
		if i := d.index(name); i >= 0 {
			d.fields = append(d.fields[:i:i], d.fields[i+1:]...)
		}
	}
}

// add adds whole fields below the others, top above them.
func add(lines ...string) edit { return func(d *draft) { d.fields = append(d.fields, lines...) } }
func top(lines ...string) edit { return func(d *draft) { d.fields = append(lines, d.fields...) } }
func body(s string) edit       { return func(d *draft) { d.body = s } }
func subject(s string) []edit  { return []edit{set("Subject", s)} }

// order is the record of the usual challenge.
func order(change ...func(*state.Pending)) *state.Pending {
	p := pending()
	p.Version, p.Created, p.Expires = state.Version, received.Add(-time.Minute), received.Add(time.Hour)
	for _, c := range change {
		c(p)
	}
	return p
}

// policy is one order of a CA with a policy.
func policy(change func(*state.Policy)) []*state.Pending {
	return []*state.Pending{order(func(p *state.Pending) { change(&p.Policy) })}
}

// txt is the key record of a key file, with tags before p=.
func txt(tags, file string) string { return "TXT " + strconv.Quote(tags+"p="+testKey(file).public()) }

// message makes the bytes of the case.
func (c corpusCase) message() string {
	d := newDraft().with(c.edit...)
	if c.smime != nil {
		d = readDraft(c.smime.mail(d))
	}
	signatures := c.sign
	if signatures == nil {
		signatures = []sig{{}}
	}
	for _, s := range signatures {
		if s.below {
			d.with(add(s.field(d.String())))
		} else {
			d.with(top(s.field(d.String())))
		}
	}
	d.with(c.after...)
	if c.bytes != nil {
		return c.bytes(d.String())
	}
	return d.String()
}

// file returns the file of the case.
func (c corpusCase) file() []byte {
	pending := c.pending
	if pending == nil {
		pending = []*state.Pending{order()}
	}
	archive := &txtar.Archive{}
	section := func(name, text string) {
		archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(strings.TrimRight(text, "\n") + "\n")})
	}
	section("readme", wrap(c.why))
	section("now", received.Format(time.RFC3339))
	message := c.message()
	plain := strings.ReplaceAll(message, "\r\n", "\n")
	if isPlain(plain) && strings.Count(message, "\r\n") == strings.Count(message, "\n") {
		archive.Files = append(archive.Files, txtar.File{Name: "msg", Data: []byte(plain)})
	} else {
		section("msg.quoted", quoteLines(message))
	}
	section("dns", c.zone(message))
	data, err := json.MarshalIndent(pending, "", "  ")
	if err != nil {
		panic(err)
	}
	section("pending.json", string(data))
	if c.smime != nil {
		section("roots.pem", rootPEM())
	}
	section("result", c.want.text(pending))
	return txtar.Format(archive)
}

// isPlain reports whether a text survives in a txtar file, and is readable.
func isPlain(text string) bool {
	if !strings.HasSuffix(text, "\n") || strings.Contains("\n"+text, "\n-- ") || !utf8.ValidString(text) {
		return false
	}
	for line := range strings.Lines(text) {
		body := strings.TrimSuffix(line, "\n")
		if strings.HasSuffix(body, " ") || strings.Trim(strconv.Quote(strings.ReplaceAll(body, "\t", " ")), `"`) !=
			strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(body, "\t", " "), `\`, `\\`), `"`, `\"`) {
			return false
		}
	}
	return true
}

func quoteLines(s string) (out string) {
	for line := range strings.Lines(s) {
		out += strconv.QuoteToASCII(line) + "\n"
	}
	return out
}

// zone writes the content of the DNS; of a zone that many cases share, only what this one
// looks up.
func (c corpusCase) zone(message string) (text string) {
	name, record := "s1._domainkey.ca.example", txt("v=DKIM1; k=rsa; ", "rsa2048")
	if _, ok := c.dns[name]; !ok {
		text = name + " " + record + "\n"
	}
	for _, name := range slices.Sorted(maps.Keys(c.dns)) {
		selector, _, _ := strings.Cut(name, ".")
		if len(c.dns) > 2 && !strings.Contains(message, "s="+selector+";") {
			continue
		}
		for record := range strings.Lines(c.dns[name]) {
			text += name + " " + strings.TrimSuffix(record, "\n") + "\n"
		}
	}
	return text
}

func (w want) text(pending []*state.Pending) string {
	if w == (want{}) {
		w.verdict = Answered
	}
	if w.verdict != Answered {
		return fmt.Sprintf("verdict: %v\nreason: %s\nlookups: %d\n", w.verdict, w.reason, w.lookups)
	}
	p := pending[w.record]
	token := usual(w.token, part1)
	msgID := strings.TrimPrefix(usual(w.msgID, "<challenge-1@ca.example>"), "-")
	return fmt.Sprintf("verdict: answered\nlookups: %d\nfrom: %s\nto: %s\nsubject: Re: ACME: %s\nin-reply-to: %s\ndigest: %s\n",
		1+w.lookups, p.Email, usual(w.to, caFrom), token, msgID, expectedDigest(token, p))
}

// wrap breaks a text into lines of at most 100 characters.
func wrap(s string) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > 100 {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return strings.Join(append(lines, line), "\n")
}

// corpus is the table, in groups, each numbered from its own hundred.
var corpus = []struct {
	base  int
	cases []corpusCase
}{
	{100, subjectCases},
	{200, addressCases},
	{300, headerCases},
	{400, signatureCases},
	{500, dnsCases},
	{600, orderCases},
	{700, transportCases},
	{800, policyCases},
	{900, internationalCases},
	{930, smimeCases},
}

// TestCorpus makes sure that the files match the table. With -update it writes them.
func TestCorpus(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // the test signs with keys that are too short
	files := map[string][]byte{}
	for _, group := range corpus {
		for i, c := range group.cases {
			files[fmt.Sprintf("%03d-%s.txtar", group.base+i, c.name)] = c.file()
		}
	}
	if *update {
		writeGolden(t, files)
	}
	found, err := os.ReadDir("testdata/golden")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != len(files) {
		t.Errorf("%d files for %d cases; run go test -run Corpus -update", len(found), len(files))
	}
	for name, data := range files {
		old, err := os.ReadFile(filepath.Join("testdata/golden", name))
		if err != nil || !bytes.Equal(old, data) {
			t.Errorf("%s is not what the table says (%v); run go test -run Corpus -update", name, err)
		}
	}
}

func writeGolden(t *testing.T, files map[string][]byte) {
	old, _ := filepath.Glob("testdata/golden/*.txtar")
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join("testdata/golden", name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
