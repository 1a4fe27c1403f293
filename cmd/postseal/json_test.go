package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postseal/internal/setup"
	"postseal/internal/test/manual"
	"postseal/issuer"
	"postseal/issuer/ca"
	"postseal/issuer/enroll"
)

// documents are what --json writes, by the name of their subsection in the manual.
var documents = map[string]any{
	"cert and renew": results{},
	"enroll": struct { // the rest is as in others
		Tables  []enroll.Report `json:"tables"`
		Results []string        `json:"results"`
		Revoked []string        `json:"revoked"`
	}{},
	"export":                               exportJSON{},
	"cancel":                               cancelJSON{},
	"revoke":                               issuer.Revoked{},
	"status":                               issuer.Status{},
	"account show":                         ca.AccountInfo{},
	"account update, rollover, deactivate": accountJSON{},
	"check":                                checkJSON{},
	"init":                                 setup.Plan{},
}

// The manual tells of every name in every document, and of no other: what it tells is
// what scripts rely on.
func TestManualJSON(t *testing.T) {
	page := manual.Read(t, "postseal.1")
	for name, doc := range documents {
		section := page.Section("JSON OUTPUT", "JSON of "+name)
		if section == nil {
			t.Errorf("nothing about the JSON of %s", name)
			continue
		}
		told := section.Words("Cm")
		there := map[string]bool{}
		for _, f := range jsonFields(reflect.TypeOf(doc), "") {
			there[f.path] = true
			if !slices.Contains(told, f.path) {
				t.Errorf("%s: nothing about %s", name, f.path)
			}
			if n := slices.Index(told, f.path); f.optional && n >= 0 && !optional(section, n) {
				t.Errorf("%s: %s is optional", name, f.path)
			}
		}
		for _, path := range told {
			if !there[path] {
				t.Errorf("%s: there is no %s", name, path)
			}
		}
	}
}

// optional reports whether the text below an item, or below those that share it, says so.
func optional(s *manual.Section, n int) bool {
	for ; n < len(s.Items); n++ {
		text := strings.TrimPrefix(s.Items[n].Source, ".It "+s.Items[n].Head)
		if strings.TrimSpace(text) != "" {
			return strings.Contains(text, "(optional)")
		}
	}
	return false
}

type jsonField struct {
	path     string
	optional bool
}

// jsonFields returns the leaves of a type as paths.
func jsonFields(t reflect.Type, prefix string) (fields []jsonField) {
	for n := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(n).Tag.Get("json"), ",")
		if !t.Field(n).IsExported() || name == "-" {
			continue
		}
		f, of := jsonField{prefix + name, options != ""}, t.Field(n).Type
		list := of.Kind() == reflect.Slice
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		switch {
		case t.Field(n).Anonymous:
			fields = append(fields, jsonFields(of, prefix)...)
		case list && of.Kind() == reflect.Struct:
			fields = append(fields, jsonFields(of, f.path+"[].")...)
		case of.Kind() == reflect.Struct && of != reflect.TypeFor[time.Time]():
			fields = append(fields, jsonFields(of, f.path+".")...)
		default:
			fields = append(fields, f)
		}
	}
	return fields
}
