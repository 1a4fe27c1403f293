package pages

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postseal/internal/test/machine"
)

// What the pages say is done, on this machine under a layer of its own.
func TestStories(t *testing.T) {
	tell(t, func(s story) bool { return s.image == "" })
}

func tell(t *testing.T, chosen func(story) bool) {
	for _, name := range slices.Sorted(maps.Keys(stories)) {
		if s := stories[name]; chosen(s) {
			if s.image == "" {
				s.image = machine.Host
			}
			t.Run(name, func(t *testing.T) { onMachine(t, s.image, func() { s.tell(t) }) })
		}
	}
}

// Each page with commands has a story, and what that knows of the page is there.
func TestEachPageHasAStory(t *testing.T) {
	byPage := map[string]story{}
	for name, s := range stories {
		if byPage[s.page].page != "" {
			t.Errorf("%s is told twice", s.page)
		}
		byPage[s.page] = s
		s.check(t, name)
	}
	for _, p := range pages(t) {
		if len(p.section("")) > 0 && byPage[p.name].page == "" {
			t.Errorf("%s has commands, and the list in stories_test.go has no story about it", p.name)
		}
	}
}

func (s story) check(t *testing.T, name string) {
	data, err := os.ReadFile(filepath.Join(root, s.page))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	p := readPage(t, filepath.Join(root, s.page))
	var all []string
	for _, b := range p.section("") {
		all = append(all, b.commands()...)
	}
	known := func(command string) {
		if command != "" && !slices.Contains(all, command) {
			t.Errorf("%s: %s has no command %q (any more)", name, s.page, command)
		}
	}
	for command, hand := range s.hands {
		known(command)
		if !strings.Contains(string(data), hand.says) {
			t.Errorf("%s: %s does not say %q (any more), so nobody would do: %s", name, s.page, hand.says, hand.does)
		}
	}
	for command, other := range s.other {
		known(command)
		if other.why == "" || other.run == "" {
			t.Errorf("%s: %q is not run: say why, and what instead", name, command)
		}
	}
	for command := range s.wants {
		known(command)
	}
	for _, c := range s.first {
		if len(readPage(t, filepath.Join(root, c.page)).section(c.heading)) == 0 {
			t.Errorf("%s: %s has no commands under %q", name, c.page, c.heading)
		}
	}
}
