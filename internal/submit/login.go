package submit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxCommand bounds the length of a command, in bytes (RFC 5321, Section 4.5.3.1.4).
const maxCommand = 512 - len("\r\n")

// login logs in if the URL names a user. Open has made sure that the password does not cross
// a network in clear text.
func (s *Session) login() error {
	if s.server.User == "" {
		return nil
	}
	ways := s.extensions["AUTH"]
	for i := range ways {
		ways[i] = strings.ToUpper(ways[i])
	}
	plain, login := slices.Contains(ways, "PLAIN"), slices.Contains(ways, "LOGIN")
	switch {
	case len(ways) == 0:
		return fmt.Errorf("%s offers no login; is it a server that users log in at? if it takes mail from this host, leave USER@ out of --smtp", s.server.Host)
	case !plain && !login:
		slices.Sort(ways)
		return fmt.Errorf("%s offers to log in with %s, and not with PLAIN or LOGIN, which need nothing but a password; allow one of them there",
			s.server.Host, strings.Join(slices.Compact(ways), ", "))
	}
	if plain {
		err := s.authenticate("PLAIN", "\x00"+s.server.User+"\x00"+s.server.Password)
		if !login || !hasCode(err, 504) {
			return err
		}
	}
	return s.authenticate("LOGIN", s.server.User, s.server.Password)
}

// authenticate sends the answers of a mechanism in order. Each may follow the command or a
// prompt (RFC 4954, Section 4), and servers differ in what they understand: like most
// clients, PLAIN sends its answer with the command and LOGIN waits for a prompt, and they
// change over if a server does not understand that.
func (s *Session) authenticate(mechanism string, answers ...string) error {
	initial := mechanism == "PLAIN" && len("AUTH PLAIN ")+base64.StdEncoding.EncodedLen(len(answers[0])) <= maxCommand
	err := s.exchange(mechanism, answers, initial)
	if hasCode(err, 500) || hasCode(err, 501) {
		err = s.exchange(mechanism, answers, !initial)
	}
	return err
}

func (s *Session) exchange(mechanism string, answers []string, initial bool) error {
	line := "AUTH " + mechanism
	first := answers[0]
	if initial {
		line += " " + base64.StdEncoding.EncodeToString([]byte(first))
	}
	rest := answers
	// A server may send LOGIN's two prompts although it has the name already, and PLAIN's
	// too.
	for range len(answers) + 2 {
		prompt, err := s.command("AUTH", 3, line)
		if err == nil && len(rest) == 0 {
			break
		}
		if hasCode(err, 235) {
			return nil
		}
		if err != nil {
			return err
		}
		if initial && len(rest) == len(answers) && !asksFor(prompt, "user") && mechanism == "LOGIN" {
			rest = rest[1:]
		}
		line, rest = base64.StdEncoding.EncodeToString([]byte(rest[0])), rest[1:]
	}
	s.command("AUTH", 5, "*") // the server still expects an answer, which this cancels
	return errors.New("the SMTP server asks for more than user and password at " + mechanism)
}

// asksFor reports whether a prompt of LOGIN, such as "Username:", contains a word.
func asksFor(prompt []string, word string) bool {
	text, err := base64.StdEncoding.DecodeString(prompt[len(prompt)-1])
	return err == nil && strings.Contains(strings.ToLower(string(text)), word)
}

func hasCode(err error, code int) bool {
	var a *Answer
	return errors.As(err, &a) && a.Code == code
}
