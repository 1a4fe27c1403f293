package main

import (
	"fmt"
	"regexp"
	"strings"
)

// licences is the text of all terms under which the modules are given to us, which
// most of them want to go with the program.
func licences(modules []module) ([]byte, error) {
	var b strings.Builder
	b.WriteString("The programs contain Go and the modules below, each under its own terms.\n")
	for _, m := range modules {
		id, text, err := m.licence()
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "\n%s\n%s %s (%s)\n\n%s", strings.Repeat("=", 78), m.title(), m.Version, id, text)
	}
	return []byte(b.String()), nil
}

func (m module) title() string {
	if m.Path == standard {
		return "Go"
	}
	return m.Path
}

// debianCopyright adds the modules to the head of Debian's copyright file.
func debianCopyright(head []byte, modules []module) ([]byte, error) {
	b := strings.Builder{}
	b.Write(head)
	for _, m := range modules {
		id, text, err := m.licence()
		if err != nil {
			return nil, err
		}
		files := m.Path + "/*"
		if m.Path == standard {
			files = "go/*"
		}
		text = shortened(id, text)
		fmt.Fprintf(&b, "\nFiles: %s\nCopyright: %s\nLicense: %s\n%s", files, holders(text), debianID(id, m), indented(text))
	}
	return []byte(b.String()), nil
}

// debianID names a licence as Debian does. The texts differ in their names and
// wording, so that each module's is a licence of its own.
func debianID(id string, m module) string {
	if id == "MIT" {
		id = "Expat"
	}
	return id + "-" + strings.NewReplacer("/", "-", "_", "-").Replace(m.title())
}

var holderLine = regexp.MustCompile(`(?im)\bcopyright (?:©|\(c\))? *\d.*$`)

// holders returns who claims the copyright, as they write it.
func holders(text string) string {
	lines := holderLine.FindAllString(text, -1)
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	if len(lines) == 0 {
		return "see the text of the licence"
	}
	return strings.Join(lines, "\n           ")
}

const apache = "On Debian systems the full text of the Apache License, Version 2.0, is in\n" +
	"/usr/share/common-licenses/Apache-2.0.\n"

// shortened leaves out texts that every Debian system has in one place: that of the
// Apache licence, and that of the GPL where a module lets us choose. What stands
// beside them stays.
func shortened(id, text string) string {
	if id == "Apache-2.0" {
		_, rest, _ := strings.Cut(text, "END OF TERMS AND CONDITIONS")
		_, notice, _ := strings.Cut(rest, "limitations under the License.")
		return apache + notice
	}
	if at := gplTitle.FindStringIndex(text); at != nil {
		return text[:at[0]] + "\nOn Debian systems it is in /usr/share/common-licenses/GPL-2.\n"
	}
	return text
}

var gplTitle = regexp.MustCompile(`(?m)^\s+GNU GENERAL PUBLIC LICENSE$`)

// indented makes the text part of a field.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		line = strings.TrimRight(line, " \t\n\f")
		if line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return b.String()
}
