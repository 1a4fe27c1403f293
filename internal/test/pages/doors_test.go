//go:build doors

package pages

import "testing"

// What the other pages say is done, on machines with their mail server.
func TestStoriesElsewhere(t *testing.T) {
	tell(t, func(s story) bool { return s.image != "" })
}
