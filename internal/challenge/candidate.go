package challenge

// Candidate reports whether a message with this header block could be a challenge. Ordinary
// mail ends here, before any other look at it.
func Candidate(header []byte) bool {
	m, err := parse(Message{Raw: header})
	return err == nil && m.isChallenge()
}
