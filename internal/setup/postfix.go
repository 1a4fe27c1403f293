package setup

import (
	"cmp"
	"regexp"
	"strings"
)

// setting is a line of main.cf.
type setting struct{ name, value string }

// settings are those of a main.cf.
type settings struct {
	lines  []setting         // in the order of the file
	values map[string]string // that count: the last of each name
}

var (
	nothingSet = regexp.MustCompile(`(?m)^[ \t\r]*(#.*)?(\n|\z)`)
	oneSetting = regexp.MustCompile(`(?m)^([^\s=][^=\n]*?)[ \t]*=(.*(?:\n[ \t].*)*)`)
	newLine    = regexp.MustCompile(`\s*\n\s+`)
	parameter  = regexp.MustCompile(`\$(\w+|\{\w+\}|\(\w+\))`)
)

// parseSettings reads the syntax of postconf(5): NAME = VALUE, where a line that starts with
// white space continues the one above.
func parseSettings(text string) settings {
	s := settings{values: map[string]string{}}
	for _, m := range oneSetting.FindAllStringSubmatch(nothingSet.ReplaceAllString(text, ""), -1) {
		one := setting{m[1], strings.TrimSpace(newLine.ReplaceAllString(m[2], "\n    "))}
		s.lines = append(s.lines, one)
		s.values[one.name] = one.value
	}
	return s
}

// expanded returns a setting with $NAME replaced by the file's own settings.
func (s settings) expanded(name string) string {
	value := s.values[name]
	for range 5 { // settings refer to others, and wrong ones to themselves
		value = parameter.ReplaceAllStringFunc(value, func(ref string) string { return s.values[strings.Trim(ref, "${()}")] })
	}
	return value
}

// missing returns the lines of a recipe that a main.cf lacks, and their place: the recipe's
// value is added to the existing one.
func (s settings) missing(recipe string) (text string, place Place) {
	place = AtEnd
	for _, one := range parseSettings(recipe).lines {
		old := s.values[one.name]
		if strings.Contains(s.expanded(one.name), "postseal") || old == one.value {
			continue
		}
		if old != "" {
			one.value = strings.TrimRight(old, ", ") + ", " + one.value
			place = Instead
		}
		text += one.name + " = " + one.value + "\n"
	}
	return text, place
}

// queue returns Postfix's queue directory.
func (s settings) queue() string { return cmp.Or(s.expanded("queue_directory"), defaultQueue) }

const defaultQueue = "/var/spool/postfix"
