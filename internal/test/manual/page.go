package manual

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Page is a manual page.
type Page struct {
	Path     string
	Sections []Section // subsections have their section's name too
	Text     string    // as mandoc shows it, in long lines
}

// Section is what stands below a heading and above the next one.
type Section struct {
	Name, Sub string
	Items     []Item // of the outermost lists
	Source    string
}

// Item is an item of a list, with everything below it.
type Item struct{ Head, Source string }

// with gives an item without a text of its own that of the next one that has one.
func (i Item) with(next []Item) Item {
	for ; strings.Count(i.Source, "\n") <= 1 && len(next) > 0; next = next[1:] {
		i.Source = next[0].Source
	}
	return i
}

var overstrike = regexp.MustCompile(".\b")

// Read reads a page and has mandoc look for mistakes in it.
func Read(t *testing.T, path string) *Page {
	t.Helper()
	if out, err := exec.Command("mandoc", "-T", "lint", "-W", "warning", path).CombinedOutput(); err != nil {
		t.Errorf("mandoc (Debian package mandoc): %v\n%s", err, out)
	}
	text, err := exec.Command("mandoc", "-T", "ascii", "-O", "width=1000", path).Output()
	if err != nil {
		t.Fatalf("mandoc (Debian package mandoc): %v", err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &Page{Path: path, Text: overstrike.ReplaceAllString(string(text), "")}
	p.parse(string(source))
	return p
}

// parse finds the headings and items.
func (p *Page) parse(source string) {
	var name string
	depth := 0 // of lists
	for line := range strings.Lines(source) {
		macro, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch macro {
		case ".Sh":
			name, depth = rest, 0
			p.Sections = append(p.Sections, Section{Name: rest})
			continue
		case ".Ss":
			p.Sections = append(p.Sections, Section{Name: name, Sub: rest})
			continue
		case ".Bl":
			depth++
		case ".El":
			depth--
		}
		if len(p.Sections) == 0 {
			continue
		}
		p.Sections[len(p.Sections)-1].add(macro, rest, line, depth)
	}
}

func (s *Section) add(macro, rest, line string, depth int) {
	s.Source += line
	if macro == ".It" && depth == 1 {
		s.Items = append(s.Items, Item{Head: rest})
	}
	if n := len(s.Items); n > 0 && depth > 0 {
		s.Items[n-1].Source += line
	}
}

// Section returns a section or, with a name for it, a subsection; nil if the page
// has none.
func (p *Page) Section(name, sub string) *Section {
	for n := range p.Sections {
		if s := &p.Sections[n]; s.Name == name && s.Sub == sub {
			return s
		}
	}
	return nil
}

// Words returns the arguments of a macro in the heads of the items, such as those
// of Fl or Cm.
func (s *Section) Words(macro string) (words []string) {
	for _, item := range s.Items {
		words = append(words, item.Words(macro)...)
	}
	return words
}

// Words returns the arguments of a macro in the head of the item.
func (i Item) Words(macro string) (words []string) {
	fields := strings.Fields(i.Head)
	for n := 1; n < len(fields); n++ {
		if fields[n-1] == macro {
			words = append(words, fields[n])
		}
	}
	return words
}

// Displays returns the literal displays of a section, as they are read.
func (s *Section) Displays() (texts []string) {
	for _, part := range strings.Split(s.Source, "\n.Bd -literal")[1:] {
		_, part, _ = strings.Cut(part, "\n")
		part, _, _ = strings.Cut(part, "\n.Ed")
		texts = append(texts, strings.NewReplacer(`\&`, "", `\-`, "-", `\(aq`, "'", `\(dq`, `"`, `\e`, `\`).Replace(part)+"\n")
	}
	return texts
}
