package cli

import "testing"

func TestHasPassword(t *testing.T) {
	for url, want := range map[string]bool{
		"redis://mx":                            false,
		"redis://mail@mx":                       false,
		"redis://mail:@mx":                      false,
		"redis://mail:x@mx":                     true,
		"redis://:x@mx":                         true,
		"redis://mail:a/b%zz?c@mx":              true,
		"redis://mail@x:y@mx":                   true,
		"redis://mx?password=x":                 true,
		"redis://mx?a=b&password=x":             true,
		"redis://mx?password-file=/x":           false,
		"redis://mail@mx:6379?password-file=/x": false,
		"unix://:x@/run/s":                      true,
		"/var/lib/postseal":                     false,
	} {
		if got := HasPassword(url); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
}

func TestPasswordInArgs(t *testing.T) {
	for _, c := range []struct {
		args []string
		want bool
	}{
		{[]string{"postseal", "cert", "--state", "redis://a:b@c", "-e", "x"}, true},
		{[]string{"postseal", "--state=redis://a:b@c"}, true},
		{[]string{"postseal", "--state=redis://a@c"}, false},
		{[]string{"postseal", "--smtp", "smtps://a:b@c"}, false},
		{[]string{"--state"}, false},
	} {
		if got := PasswordInArgs(c.args); got != c.want {
			t.Errorf("%v: %v", c.args, got)
		}
	}
}
