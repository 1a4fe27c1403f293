package setup

import (
	"cmp"
	"regexp"
	"strings"
)

// settings are the settings of a main.cf, in the order of the file.
type settings []struct{ name, value string }

var (
	nothingSet = regexp.MustCompile(`(?m)^[ \t\r]*(#.*)?(\n|\z)`)
	oneSetting = regexp.MustCompile(`(?m)^([^\s=][^=\n]*?)[ \t]*=(.*(?:\n[ \t].*)*)`)
	newLine    = regexp.MustCompile(`\s*\n\s+`)
	parameter  = regexp.MustCompile(`\$(\w+|\{\w+\}|\(\w+\))`)
)

// parseSettings reads the syntax of postconf(5): NAME = VALUE, where a line that starts with
// white space continues the one above.
func parseSettings(text string) (all settings) {
	for _, m := range oneSetting.FindAllStringSubmatch(nothingSet.ReplaceAllString(text, ""), -1) {
		all = append(all, struct{ name, value string }{m[1], strings.TrimSpace(newLine.ReplaceAllString(m[2], "\n    "))})
	}
	return all
}

// get returns the value of a setting, the last one if there are several.
func (s settings) get(name string) (value string) {
	for _, one := range s {
		if one.name == name {
			value = one.value
		}
	}
	return value
}

// expanded returns a setting with $NAME replaced by the file's own settings.
func (s settings) expanded(name string) string {
	value := s.get(name)
	for range 5 { // settings refer to others, and wrong ones to themselves
		value = parameter.ReplaceAllStringFunc(value, func(ref string) string { return s.get(strings.Trim(ref, "${()}")) })
	}
	return value
}

// missing returns the lines of a recipe that a main.cf lacks, and their place: the recipe's
// value is added to the existing one.
func (s settings) missing(recipe string) (text string, place Place) {
	place = AtEnd
	for _, one := range parseSettings(recipe) {
		old := s.get(one.name)
		if strings.Contains(s.expanded(one.name), mark) || old == one.value {
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
