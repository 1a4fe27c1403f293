package pages

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the top of the source tree, or on a machine the copy of what is needed.
var root = "../../.."

// page is a file of Markdown, as far as it matters here.
type page struct {
	name     string // below root
	blocks   []block
	headings []string
	links    []link
	code     []link // code within sentences
	stray    []link // code that no ``` lines enclose
}

// block is what stands between two ``` lines.
type block struct {
	page, heading string
	line          int // of its first line
	kind, file    string
	text          string
}

// link is a piece of text and the line it is in.
type link struct {
	line int
	text string
}

var (
	fence    = regexp.MustCompile("^ {0,3}```\\s*(\\S*)\\s*(\\S*)\\s*$")
	heading  = regexp.MustCompile(`^#+ (.*)`)
	linkText = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)
	codeText = regexp.MustCompile("`([^`]+)`")
	indented = regexp.MustCompile(`^( {4}|\t)`)
)

// pages reads the README, the other pages at the top and all of contrib/.
func pages(t *testing.T) []page {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "contrib"), func(path string, _ os.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []page
	for _, name := range names {
		all = append(all, readPage(t, name))
	}
	return all
}

// readPage reads a page.
func readPage(t *testing.T, path string) page {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	name, err := filepath.Rel(root, path)
	if err != nil {
		t.Fatal(err)
	}
	p := page{name: name}
	var open *block
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		mark := fence.FindStringSubmatch(line)
		switch {
		case mark != nil && open != nil:
			p.blocks = append(p.blocks, *open)
			open = nil
		case mark != nil:
			open = &block{page: name, line: number + 1, kind: mark[1], file: mark[2]}
			if len(p.headings) > 0 {
				open.heading = p.headings[len(p.headings)-1]
			}
		case open != nil:
			open.text += line + "\n"
		case indented.MatchString(line):
			p.stray = append(p.stray, link{number, line})
		default:
			p.prose(number, line)
		}
	}
	if open != nil {
		t.Errorf("%s:%d: this block has no end", name, open.line)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *page) prose(number int, line string) {
	if h := heading.FindStringSubmatch(line); h != nil {
		p.headings = append(p.headings, h[1])
	}
	for _, m := range linkText.FindAllStringSubmatch(line, -1) {
		p.links = append(p.links, link{number, m[1] + m[2]})
	}
	for _, m := range codeText.FindAllStringSubmatch(line, -1) {
		p.code = append(p.code, link{number, m[1]})
	}
}

// commands returns the lines of a block of shell; one that ends with a backslash goes
// on in the next.
func (b block) commands() []string {
	var all []string
	for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", "")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

// section returns the blocks of shell below a heading, or of the whole page.
func (p page) section(name string) []block {
	return slices.DeleteFunc(slices.Clone(p.blocks), func(b block) bool {
		return b.kind != "sh" || name != "" && b.heading != name
	})
}
