package state

import "testing"

// Golden values of both readings of RFC 8823.
func TestDigest(t *testing.T) {
	const part1 = "V4nE8NhYh6edBpfQTg5qqQ"
	for join, want := range map[string]string{
		"bytes": "Fjt2SD7KoqSt3I6jwgg8ljjkP9Er7h1w0wF0UihvQIU", "string": "gtzugYfQ1gO_Pi-ripWZTUtKP_xzPoQe-brDkSOvX5c",
	} {
		p := &Pending{Join: join, Token: "x6I65YvEk6xC4KV0QMvdJw", Thumbprint: "hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ"}
		if got, err := p.Digest(part1); err != nil || got != want {
			t.Errorf("%s: %s, %v", join, got, err)
		}
		if got, err := p.Digest(part1 + "=="); err != nil || join == "bytes" && got != want {
			t.Errorf("%s: %s, %v with padding", join, got, err)
		}
		if _, err := p.Digest("%"); join == "bytes" && err == nil {
			t.Error("a broken part1 was joined")
		}
	}
}
