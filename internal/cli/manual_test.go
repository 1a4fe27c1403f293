package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"postseal/internal/test/manual"
)

const page = "postseal.toml.5"

// The page describes every key, and no others.
func TestManual(t *testing.T) {
	manual.Diagnostics(t, page, ".")
	p := manual.Read(t, page)
	var told []string
	for _, s := range p.Sections {
		if s.Name == "KEYS" {
			told = append(told, s.Words("Cm")...)
		}
	}
	compare(t, "KEYS", told, Keys)
	tables := reflect.TypeFor[File]()
	for n := range tables.NumField() {
		name, of := tables.Field(n).Tag.Get("toml"), tables.Field(n).Type
		if of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct {
			continue
		}
		s := p.Section("TABLES", "Table "+name)
		if s == nil {
			t.Errorf("%s does not tell of the table %s", page, name)
			continue
		}
		var keys []string
		for k := range of.NumField() {
			keys = append(keys, of.Field(k).Tag.Get("toml"))
		}
		compare(t, name, s.Words("Cm"), keys)
	}
}

func compare(t *testing.T, where string, told, keys []string) {
	t.Helper()
	for _, key := range keys {
		if !slices.Contains(told, key) {
			t.Errorf("%s, %s: nothing about %s", page, where, key)
		}
	}
	for _, key := range told {
		if !slices.Contains(keys, key) {
			t.Errorf("%s, %s: there is no %s", page, where, key)
		}
	}
}

// The page lists every value that a key of a CA can have, as the program's error for an
// invalid one does.
func TestManualValues(t *testing.T) {
	section := manual.Read(t, page).Section("TABLES", "Table ca")
	for _, item := range section.Items {
		key := item.Words("Cm")[0]
		value := `"nonsense"`
		if key == "compat" {
			value = `["nonsense"]`
		}
		_, err := ReadFile(write(t, "[ca.\"*\"]\n"+key+" = "+value+"\n"))
		if err == nil {
			continue // any text is valid
		}
		_, list, _ := strings.Cut(err.Error(), "is not one of ")
		for word := range strings.SplitSeq(list, ", ") {
			if !strings.Contains(item.Source, word) {
				t.Errorf("%s: %s can be %q", page, key, word)
			}
		}
	}
}

func TestManualExample(t *testing.T) {
	examples := manual.Read(t, page).Section("EXAMPLES", "").Displays()
	if len(examples) == 0 {
		t.Fatal("there is none")
	}
	for _, text := range examples {
		file, err := ReadFile(write(t, text))
		if err != nil {
			t.Errorf("%v in:\n%s", err, text)
		} else if len(file.DKIM) == 0 || len(file.CA) == 0 {
			t.Error("the example shows no tables")
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postseal.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
