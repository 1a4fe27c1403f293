package setup

import (
	"os"
	"regexp"
	"strings"
)

// settings are those of a main.cf by name, in the words of the file.
type settings map[string]string

// readSettings reads a main.cf. It is never nil: a file that cannot be read sets
// nothing.
func readSettings(path string) settings {
	data, _ := os.ReadFile(path)
	return parseSettings(string(data))
}

// parseSettings reads what postconf(5) describes: NAME = VALUE, where a line that
// begins with white space goes on with the one above. The last setting counts.
func parseSettings(text string) settings {
	set := settings{}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "" || trimmed[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if name != "" {
				set[name] = strings.TrimSpace(set[name] + "\n    " + trimmed)
			}
		default:
			before, value, ok := strings.Cut(line, "=")
			if name = strings.TrimSpace(before); ok {
				set[name] = strings.TrimSpace(value)
			}
		}
	}
	return set
}

var parameter = regexp.MustCompile(`\$(\w+|\{\w+\}|\(\w+\))`)

// expanded returns a setting with what the file itself sets in place of $NAME.
func (s settings) expanded(name string) string {
	value := s[name]
	for range 5 { // settings refer to others, and wrong ones to themselves
		value = parameter.ReplaceAllStringFunc(value, func(ref string) string { return s[strings.Trim(ref, "${()}")] })
	}
	return value
}

// merge returns the lines of a recipe for a main.cf that has settings already: the
// recipe's value stands behind the one that is there. It tells which settings are
// replaced by that; all says whether there is nothing to add, because the file has
// what the recipe sets.
func (s settings) merge(recipe string) (text string, replaced []string, all bool) {
	wanted := parseSettings(recipe)
	all = true
	for _, name := range settingNames(recipe) {
		value, old := wanted[name], s[name]
		switch {
		case strings.Contains(s.expanded(name), "postseal") || old == value:
			continue
		case old != "":
			value = strings.TrimRight(old, ", ") + ", " + value
			replaced = append(replaced, name)
		}
		all = false
		text += name + " = " + value + "\n"
	}
	if len(replaced) == 0 && !all {
		return recipe, nil, false
	}
	return text, replaced, all
}

// settingNames returns the names in the order of the text.
func settingNames(text string) (names []string) {
	for line := range strings.Lines(text) {
		if name, _, ok := strings.Cut(line, "="); ok && line[0] != '#' && line[0] != ' ' && line[0] != '\t' {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// queue returns Postfix's queue directory.
func (s settings) queue() string {
	if dir := s["queue_directory"]; strings.HasPrefix(dir, "/") {
		return dir
	}
	return "/var/spool/postfix"
}
