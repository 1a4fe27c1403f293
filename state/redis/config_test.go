package redis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// No password shows in an error or a name, however wrong the URL is.
func TestURLs(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ url, name, wrong string }{
		{"redis://mx.example", "redis://mx.example", ""},
		{"redis://:hunter2@mx.example:6380/3", "redis://mx.example:6380/3", ""},
		{"redis://mail:hunter2@mx.example/3?prefix=ps-2&dir=/var/lib/x", "redis://mx.example/3?prefix=ps-2", ""},
		{"redis://mail@mx.example?password-file=" + secret, "redis://mx.example", ""},
		{"rediss://[2001:db8::1]:6379?skip_verify=true", "rediss://[2001:db8::1]:6379", ""},
		{"unix:///run/redis/s?db=2&password-file=" + secret, "unix:///run/redis/s", ""},
		{"redis://a:26379?master_name=mail&addr=b:26379&password=hunter2", "redis://a:26379", ""},
		{"redis://mail:hunter2@a:7000?addr=b:7000&addr=c:7000", "redis://a:7000", ""},

		{"redis://mail:hun/ter2@mx.example", "", "not a URL"},
		{"redis://mail:hun%ter2@mx.example", "", "not a URL"},
		{"redis://mail:hunter2@mx.example/no", "", "database number"},
		{"redis://mail:hunter2@mx.example/1/2", "", "path"},
		{"redis://mail:hunter2@mx.example?prefx=a", "", "prefx"},
		{"redis://mail:hunter2@mx.example?prefix=a{b}", "", "letters"},
		{"redis://mail:hunter2@mx.example?prefix=", "", "letters"},
		{"redis://mail:hunter2@mx.example?dir=a&dir=b", "", "twice"},
		{"redis://mail:hunter2@mx.example?prefix=%zz", "", "NAME=VALUE"},
		{"redis://mail:hunter2@mx.example?read_timeout=hunter", "", "read_timeout"},
		{"redis://mail:hunter2@mx.example?ca=/etc/ca.pem", "", "rediss"},
		{"rediss://mail:hunter2@mx.example?ca=/nonexistent", "", "/nonexistent"},
		{"rediss://mail:hunter2@mx.example?ca=" + secret, "", "no certificate"},
		{"redis://mail@mx.example?password-file=/nonexistent", "", "/nonexistent"},
		{"redis://", "", "no host"},
		{"unix://", "", "socket path"},
		{"redis://a?master_name=m&replica_only=true", "", "replicas"},
		{"redis://a?addr=b:1&read_only=true", "", "replicas"},
		{"redis://a?addr=hunter", "", "addr"},
		{"http://mail:hunter2@mx.example", "", "not a URL"},
	} {
		s, err := Open(c.url)
		switch {
		case err == nil && c.wrong != "":
			t.Errorf("%s is taken", c.url)
		case err != nil && (c.wrong == "" || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s: %v, want %q", c.url, err, c.wrong)
		case err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "ter2")):
			t.Errorf("a password shows: %v", err)
		case err == nil:
			if s.String() != c.name {
				t.Errorf("%s is shown as %s, want %s", c.url, s, c.name)
			}
			s.Close()
		}
	}
}

// An error quotes nothing of an invalid URL, and the name of a valid one has no password.
func FuzzURL(f *testing.F) {
	for _, url := range []string{"redis://mail:PASS@mx/1?prefix=a", "unix://:PASS@/run/s", "redis://a:PASS@b?addr=c:1", "rediss://u:PASS@h?master_name=x&password=PASS", "redis://h?:PASS@"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		if strings.Contains(url, "file=") || strings.Contains(url, "ca=") || strings.Contains(url, "cert=") || strings.Contains(url, "key=") {
			return // not the files of this machine
		}
		s, err := Open(url)
		if err == nil {
			defer s.Close()
			if strings.Contains(s.String(), ":PASS@") {
				t.Errorf("%q is shown as %s", url, s)
			}
		} else if strings.Contains(err.Error(), ":PASS@") {
			t.Errorf("a password shows: %v", err)
		}
	})
}
