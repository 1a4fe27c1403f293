package manual

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Program is what a page is compared with.
type Program struct {
	Model  *kong.Application
	Values map[string][]string // words that flags can have, where the model does not say
	Others []string            // flags of other programs, which the page may mention
	Exits  []string            // exit statuses
}

// sections are those that the page of a program has at least.
var sections = []string{
	"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES",
	"DIAGNOSTICS", "SEE ALSO", "STANDARDS", "SECURITY CONSIDERATIONS",
}

// allCommands is the subsection with the flags that every command has.
const allCommands = "All commands"

// Check compares the page at path with the program.
func Check(t *testing.T, path string, p Program) {
	page := Read(t, path)
	for _, name := range sections {
		if page.Section(name, "") == nil {
			t.Errorf("%s has no section %s", path, name)
		}
	}
	c := checker{T: t, page: page, p: p, known: map[string]bool{}}
	c.node("", p.Model.Node)
	c.strangers()
	c.exits()
	c.file = Read(t, "../../internal/cli/postseal.toml.5")
	c.defaults(p.Model.Node)
}

// defaults compares the defaults with those that the page of the configuration file
// tells of.
func (c *checker) defaults(node *kong.Node) {
	for _, f := range node.Flags {
		for _, s := range c.file.Sections {
			for _, item := range s.Items {
				if s.Name != "KEYS" || !slices.Contains(item.Words("Cm"), f.Name) || !strings.Contains(item.Source, "default is") {
					continue
				}
				for _, word := range strings.Split(f.Default, ",") {
					if !strings.Contains(item.Source, word) {
						c.Errorf("%s: the default of %s is %s", c.file.Path, f.Name, f.Default)
					}
				}
			}
		}
	}
	for _, child := range node.Children {
		c.defaults(child)
	}
}

type checker struct {
	*testing.T
	page  *Page
	file  *Page // of the configuration file
	p     Program
	known map[string]bool // flags of the program
}

// node checks the flags of a command and of those below it.
func (c *checker) node(path string, node *kong.Node) {
	for _, f := range node.Flags {
		c.known[f.Name] = true
	}
	sub := path
	if path == "" && len(node.Children) > 0 {
		sub = allCommands
	}
	section := c.page.Section("OPTIONS", sub)
	switch {
	case section != nil:
		c.flags(section, node)
	case len(node.Flags) > 0 || node.Leaf() && !c.listed(path):
		c.Errorf("%s: OPTIONS has no subsection %q", c.page.Path, sub)
	}
	for _, child := range node.Children {
		if !child.Hidden {
			c.node(strings.TrimSpace(path+" "+child.Name), child)
		}
	}
}

// listed reports whether a command without flags is an item below the one above it.
func (c *checker) listed(path string) bool {
	n := strings.LastIndexByte(path, ' ')
	section := c.page.Section("OPTIONS", path[:max(n, 0)])
	return section != nil && slices.Contains(section.Words("Cm"), path[n+1:])
}

// flags compares the items of a section with the flags of a command, both ways.
func (c *checker) flags(s *Section, node *kong.Node) {
	var names []string
	for _, f := range node.Flags {
		if f.Hidden {
			continue
		}
		names = append(names, "-"+f.Name)
		if f.Short != 0 {
			names = append(names, string(f.Short))
		}
		n := slices.IndexFunc(s.Items, func(i Item) bool { return slices.Contains(i.Words("Fl"), "-"+f.Name) })
		if n < 0 {
			c.Errorf("%s: OPTIONS, %q does not tell of --%s", c.page.Path, s.Sub, f.Name)
			continue
		}
		c.flag(s.Items[n].with(s.Items[n+1:]), f)
	}
	for _, word := range s.Words("Fl") {
		if !slices.Contains(names, word) {
			c.Errorf("%s: OPTIONS, %q tells of -%s, which there is not", c.page.Path, s.Sub, word)
		}
	}
}

// flag compares one item: the short form, the default, and the words that can stand
// behind the flag.
func (c *checker) flag(item Item, f *kong.Flag) {
	if f.Short != 0 && !slices.Contains(item.Words("Fl"), string(f.Short)) {
		c.Errorf("%s: --%s is also -%c", c.page.Path, f.Name, f.Short)
	}
	if takes := strings.Contains(item.Head, " Ar "); takes == f.IsBool() {
		c.Errorf("%s: --%s has an argument: %v", c.page.Path, f.Name, !f.IsBool())
	}
	if contains(item.Source, "As for") { // the section of another command says it
		return
	}
	words := append(f.EnumSlice(), c.p.Values[f.Name]...)
	for _, word := range append(words, f.Default) {
		if word != "" && !contains(item.Source, word) {
			c.Errorf("%s: --%s does not tell of %s", c.page.Path, f.Name, word)
		}
	}
	if strings.Contains(f.Help, "default") && !strings.Contains(strings.ToLower(item.Source), "default") {
		c.Errorf("%s: --%s has a default", c.page.Path, f.Name)
	}
}

// contains reports whether text holds word as a word of its own.
func contains(text, word string) bool {
	return regexp.MustCompile(`(^|[^\w-])` + regexp.QuoteMeta(word) + `($|[^\w-])`).MatchString(text)
}

var longFlag = regexp.MustCompile(`(?:^|[\s(\[|"'])--([a-z][a-z0-9-]*)`)

// strangers finds flags anywhere in the page that no program has.
func (c *checker) strangers() {
	for _, m := range longFlag.FindAllStringSubmatch(c.page.Text, -1) {
		if !c.known[m[1]] && !slices.Contains(c.p.Others, m[1]) {
			c.Errorf("%s names --%s, which no program has", c.page.Path, m[1])
		}
	}
}

func (c *checker) exits() {
	section := c.page.Section("EXIT STATUS", "")
	if section == nil {
		return
	}
	var told []string
	for _, item := range section.Items {
		told = append(told, strings.Fields(item.Head)[0])
	}
	if !slices.Equal(told, c.p.Exits) {
		c.Errorf("%s: EXIT STATUS tells of %v, and there are %v", c.page.Path, told, c.p.Exits)
	}
}
