package cli

import (
	"cmp"
	"os"
	"slices"
	"strings"

	"postseal/internal/failure"
	"postseal/internal/hostport"
	"postseal/state"
)

// DefaultState returns the issuing half's state directory if none is configured: a user's own
// below the XDG state directory, or the system's.
func DefaultState() string { return cmp.Or(userState(), state.SystemDir) }

// DefaultMailState returns the mail half's state directory if none is configured. The mail
// half runs as a user of its own on a mail server, and as the mailbox's user from a procmail
// or sieve file: that user's own directory counts if it exists.
func DefaultMailState() string {
	if own := userState(); own != "" {
		if _, err := os.Stat(own); err == nil {
			return own
		}
	}
	return state.SystemDir
}

// StateHint shows an example of a --state that is a URL.
const StateHint = "for example: --state redis://mail@mx.example:6379/0?password-file=/etc/postseal/redis.password; see postseal.toml(5)"

// IsURL reports whether a --state is the URL of a server and not a directory.
func IsURL(s string) bool { return strings.Contains(s, "://") }

// CheckState refuses a --state that is a URL of an unknown kind: taken for a path it would be
// a strange directory, and nobody would find out why no challenge is answered.
func CheckState(s string) error {
	scheme, _, found := strings.Cut(s, "://")
	if found && !slices.Contains([]string{"redis", "rediss", "unix"}, scheme) {
		return failure.Config(StateHint, "--state: %s:// is not known to this version", scheme)
	}
	return nil
}

// StateError returns the error of a --state that is a URL and cannot be used (exit 78).
func StateError(err error) error { return failure.Unreadable(err, StateHint, "--state: %w", err) }

// CheckResolver refuses a --resolver that can never answer.
func CheckResolver(s string) error {
	if s == "" {
		return nil
	}
	if _, err := hostport.Dial(s); err != nil {
		return failure.Usage("for example: --resolver 127.0.0.1:53, or --resolver [::1]:53", "--resolver: %v", err)
	}
	return nil
}

// PasswordWarning warns of a password that everybody on the host can see.
const PasswordWarning = "everybody on this host can read the password in --state; " +
	"put it into a file and name that (password-file=FILE in the URL), or use POSTSEAL_STATE or the configuration file"

// PasswordInArgs reports whether a --state in a command line holds a password.
func PasswordInArgs(args []string) bool {
	for i, arg := range args {
		value, isState := strings.CutPrefix(arg, "--state=")
		if !isState && i > 0 && args[i-1] == "--state" {
			value, isState = arg, true
		}
		if isState && HasPassword(value) {
			return true
		}
	}
	return false
}

// HasPassword reports whether a URL, even an invalid one, holds a password.
func HasPassword(s string) bool {
	_, rest, found := strings.Cut(s, "://")
	if !found {
		return false
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if _, password, _ := strings.Cut(rest[:at], ":"); password != "" {
			return true
		}
	}
	_, query, _ := strings.Cut(rest, "?")
	for param := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(param, "="); name == "password" && value != "" {
			return true
		}
	}
	return false
}
