//go:build !linux

package state

// changes stands for the kernel's events where postseal uses none: the index then
// looks at the directory each time it is asked.
type changes struct{}

func watchChanges(string) *changes { return nil }
func (*changes) drain() bool       { return true }
func (*changes) lost() bool        { return false }
func (*changes) close()            {}
