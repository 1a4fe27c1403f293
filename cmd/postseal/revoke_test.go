package main

import (
	"os/exec"
	"strings"
	"testing"

	"postseal/issuer"
)

// The addresses of a certificate are anybody's words, and the command in the hint is copied.
func TestAnotherIsACommand(t *testing.T) {
	t.Parallel()
	hostile := []string{"a`id`b@x.test", "$HOME@x.test", "a'b@x.test", "a|b@x.test", "a&b@x.test", "plain@x.test"}
	_, command, _ := strings.Cut(another(&issuer.Revoked{Emails: hostile}), ": ")
	out, err := exec.Command("sh", "-c", strings.Replace(command, "postseal cert", "printf '%s\n'", 1)).CombinedOutput()
	if want := "-e\n" + strings.Join(hostile, "\n-e\n") + "\n"; err != nil || string(out) != want {
		t.Errorf("%s: a shell makes of it %q, %v", command, out, err)
	}
}
