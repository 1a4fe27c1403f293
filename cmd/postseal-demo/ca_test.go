package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"postseal/internal/failure"

	"github.com/alecthomas/kong"
)

// parse reads flags into a caCmd, as main does.
func parse(t *testing.T, args ...string) (*caCmd, error) {
	t.Helper()
	var cmd caCmd
	p, err := kong.New(&cmd)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(args)
	return &cmd, err
}

// serveUntilFile runs the command and returns ca.json; the server ends with
// the test.
func serveUntilFile(t *testing.T, cmd *caCmd) (caFile, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := cmd.serve(ctx, w)
		w.CloseWithError(io.EOF)
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		go io.Copy(io.Discard, r)
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	// The lines are printed after the file is there.
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(<-done)
	}
	b, err := os.ReadFile(filepath.Join(cmd.Dir, "ca.json"))
	if err != nil {
		t.Fatal(err)
	}
	var f caFile
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f, line
}

func TestServe(t *testing.T) {
	cmd, err := parse(t, "--dir", t.TempDir(), "--require-eab", "--sign=smime", "--bad-nonce=10%", "--join=bytes")
	if err != nil {
		t.Fatal(err)
	}
	f, line := serveUntilFile(t, cmd)
	if !strings.Contains(line, f.Directory) {
		t.Errorf("the first line is %q, without %s", line, f.Directory)
	}
	if f.EAB == nil || f.EAB.KeyID == "" || f.EAB.HMACKey == "" {
		t.Errorf("no EAB in %+v", f)
	}
	if f.Knobs["join"] != "bytes" || f.Knobs["bad-nonce"] != 0.1 {
		t.Errorf("knobs are %v", f.Knobs)
	}
	if _, err := os.Stat(f.SMIMERoot); err != nil {
		t.Error(err)
	}
	getDirectory(t, f)
}

// getDirectory trusts nothing but the root the file names.
func getDirectory(t *testing.T, f caFile) {
	t.Helper()
	root, err := os.ReadFile(f.Root)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer c.CloseIdleConnections()
	res, err := c.Get(f.Directory)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var dir struct{ NewOrder string }
	if err := json.NewDecoder(res.Body).Decode(&dir); err != nil || dir.NewOrder == "" {
		t.Errorf("directory %+v, %v", dir, err)
	}
}

// A CA that cannot start leaves no file that says it did.
func TestStaleFile(t *testing.T) {
	dir := t.TempDir()
	cmd, err := parse(t, "--dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := serveUntilFile(t, cmd)
	taken, err := url.Parse(f.Directory)
	if err != nil {
		t.Fatal(err)
	}
	second := *cmd
	second.Listen = taken.Host
	if err := second.serve(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second CA at the same address: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ca.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ca.json is still there: %v", err)
	}
}

func TestRefuseFlags(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"--listen=0.0.0.0:0"}, "not a loopback address"},
		{[]string{"--listen=192.0.2.1:443"}, "not a loopback address"},
		{[]string{"--dns-listen=[::]:0"}, "not a loopback address"},
		{[]string{"--smtp-listen=:25"}, "not a loopback address"},
		{[]string{"--fault=nothing:429"}, "unknown resource"},
		{[]string{"--fault=new-order"}, "is not KIND:TYPE"},
		{[]string{"--part1-bytes=-1"}, "cannot be sent"},
	}
	for _, test := range tests {
		cmd, err := parse(t, append(test.args, "--dir", t.TempDir())...)
		if err != nil {
			t.Fatalf("%q: %v", test.args, err)
		}
		err = cmd.serve(t.Context(), io.Discard)
		if err == nil || !strings.Contains(err.Error(), test.want) || failure.KindOf(err) != failure.KindUsage {
			t.Errorf("%q: %v, want exit 64 and %q", test.args, err, test.want)
		}
	}
}

func TestChance(t *testing.T) {
	for in, want := range map[string]chance{"0.25": 0.25, "5%": 0.05, "0": 0, "100%": 1} {
		if cmd, err := parse(t, "--fail="+in); err != nil || cmd.Fail != want {
			t.Errorf("--fail=%s: %v, %v", in, cmd.Fail, err)
		}
	}
	for _, in := range []string{"2", "-1", "NaN", "often", "101%"} {
		if _, err := parse(t, "--fail="+in); err == nil {
			t.Errorf("--fail=%s is accepted", in)
		}
	}
}

// Each flag must change the configuration it stands for.
func TestFlagsReachConfig(t *testing.T) {
	base, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	before, err := base.config()
	if err != nil {
		t.Fatal(err)
	}
	for f := range reflect.TypeFor[caCmd]().Fields() {
		cmd := *base
		setOther(t, reflect.ValueOf(&cmd).Elem().FieldByIndex(f.Index), f)
		after, err := cmd.config()
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		if reflect.DeepEqual(before, after) {
			t.Errorf("%s changes nothing", f.Name)
		}
	}
}

// setOther gives a field a value that is valid and not its default.
func setOther(t *testing.T, v reflect.Value, f reflect.StructField) {
	t.Helper()
	enum := strings.Split(f.Tag.Get("enum"), ",")
	switch {
	case len(enum) > 1:
		for _, e := range enum {
			if e != f.Tag.Get("default") {
				v.SetString(e)
			}
		}
	case f.Name == "Faults":
		v.Set(reflect.ValueOf([]string{"finalize:500"}))
	case f.Name == "Profiles":
		v.Set(reflect.ValueOf(map[string]string{"a": "b"}))
	case v.Kind() == reflect.String:
		v.SetString("127.0.0.1:1")
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.Float64:
		v.SetFloat(0.5)
	case v.Kind() == reflect.Int64: // a duration
		v.SetInt(int64(time.Hour))
	case v.Kind() == reflect.Int:
		v.SetInt(3000)
	default:
		t.Fatalf("%s is a %s", f.Name, v.Kind())
	}
}
