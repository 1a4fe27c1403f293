package ca

import (
	"strings"
	"testing"
)

func TestCAName(t *testing.T) {
	seen := map[string]string{}
	for _, url := range []string{
		"https://acme.castle.cloud/acme/directory", "https://127.0.0.1:14000/dir", "http://127.0.0.1:14000/dir",
		"https://a/b+c", "https://a/b/c", "https://a/b%2Bc", "https://../x",
	} {
		name := caName(url)
		if strings.ContainsAny(name, "/") || name[0] == '.' || seen[name] != "" {
			t.Errorf("%s: %q, as %q", url, name, seen[name])
		}
		seen[name] = url
	}
	if caName("https://acme.castle.cloud/acme/directory") != "acme.castle.cloud+acme+directory" {
		t.Error("not readable")
	}
}

func TestDecodeHMACKey(t *testing.T) {
	for in, ok := range map[string]bool{"AAAA": true, " AA+/ \n": true, "AA-_==": true, "AAA=": true, "": false, "!": false} {
		if _, err := decodeHMACKey(in); (err == nil) != ok {
			t.Errorf("%q: %v", in, err)
		}
	}
}
