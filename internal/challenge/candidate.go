package challenge

// Candidate reports whether a message whose header block this is could be a
// challenge. Ordinary mail ends here, before anything else is looked at.
func Candidate(header []byte) bool {
	m, err := parse(Message{Raw: header})
	return err == nil && m.isChallenge()
}
