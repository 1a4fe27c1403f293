package smime

import (
	"reflect"
	"testing"
)

func TestIs(t *testing.T) {
	for in, want := range map[string]bool{
		`multipart/signed; protocol="application/pkcs7-signature"; boundary=b`:                    true,
		"Multipart/Signed;\r\n\tProtocol=\"Application/X-PKCS7-Signature\"; boundary=b":           true,
		" multipart/signed; micalg=sha-256; boundary=b; protocol=\"application/pkcs7-signature\"": true,
		`multipart/signed; protocol="application/pgp-signature"; boundary=b`:                      false,
		`multipart/signed; boundary=b`:                                       false,
		`application/pkcs7-mime; smime-type=signed-data; name=smime.p7m`:     true,
		`application/x-pkcs7-mime; smime-type="Signed-Data"`:                 true,
		`application/pkcs7-mime`:                                             true,
		`application/pkcs7-mime; smime-type=enveloped-data`:                  false,
		`application/pkcs7-signature`:                                        false,
		`text/plain; smime-type=signed-data`:                                 false,
		`multipart/signed; protocol=application/pkcs7-signature; protocol=x`: false,
		``: false,
	} {
		if got := Is(in); got != want {
			t.Errorf("Is(%q) = %v", in, got)
		}
	}
}

func TestParseEntity(t *testing.T) {
	got, err := parseEntity([]byte("A: b\r\n c\r\n\td\r\nE:\r\nf:  g \r\n\r\nbody\r\n"))
	want := entity{[]Field{{"A", " b c\td"}, {"E", ""}, {"f", "  g "}}, []byte("body\r\n")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{" A: b\r\n", "A b\r\n", ":b\r\n", "\u00fc: b\r\n", "A:\rb\r\n", "A: b\nC: d\r\n"} {
		if e, err := parseEntity([]byte(bad)); err == nil {
			t.Errorf("%q is read as %q", bad, e)
		}
	}
}
