package setup

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postseal/contrib"
)

// followed is a tree in which somebody has followed the recipe of a mail server.
func followed(t *testing.T, n *MailServer) map[string]string {
	t.Helper()
	files := map[string]string{"usr/bin/sudo": ""}
	for _, a := range n.recipe.parts {
		files[strings.TrimPrefix(a.to, "/")] = "# postseal\n" + recipeText(t, a.from)
	}
	if n.Name == "opensmtpd" {
		files["etc/smtpd.conf"] += "\naction \"local\" maildir wrapper \"postseal\" alias <aliases>\n"
	}
	return files
}

// forOne reports whether a part consists of lines for one mail server alone.
func forOne(a part) bool {
	return a.place != ours && a.to != sudoers.to && a.to != mainCF
}

func recipeText(t *testing.T, name string) string {
	t.Helper()
	data, err := contrib.Recipes.ReadFile(name)
	must(t, err)
	return string(data)
}

// Each recipe for postseal-pipe is found when it has been followed, and what is missing
// when any of its files is; one that was never followed is not missed, though a package
// has brought what it shares with others.
func TestWired(t *testing.T) {
	for _, n := range Servers {
		if n.group != "" || n.recipe.parts == nil {
			continue
		}
		t.Run(n.Name, func(t *testing.T) {
			files := followed(t, n)
			if w := Find(tree(t, files)).Wired(""); len(w) != 1 || w[0].MailServer != n || len(w[0].Missing) > 0 {
				t.Fatalf("followed: %+v", w)
			}
			alone := 0
			for _, a := range n.recipe.parts {
				if forOne(a) {
					alone++
				}
			}
			for name := range files {
				less := maps.Clone(files)
				delete(less, name)
				w := Find(tree(t, less)).Wired("")
				own := slices.ContainsFunc(n.recipe.parts, func(a part) bool { return a.to == "/"+name && forOne(a) })
				missing := len(w) == 1 && slices.ContainsFunc(w[0].Missing, func(m string) bool { return filepath.Base(m) == filepath.Base(name) })
				if needed := name != "usr/bin/sudo" || slices.ContainsFunc(n.recipe.parts, func(a part) bool { return a.to == sudoers.to }); needed && !missing && !(own && alone == 1) {
					t.Errorf("without %s: %+v", name, w)
				}
			}
		})
	}
	shared := map[string]string{"usr/bin/procmail": "", "etc/sudoers.d/postseal": "x", "usr/lib/postseal/deliver": "x", "usr/lib/postseal/before": "x",
		"etc/postfix/main.cf": recipeText(t, "postfix-milter/main.cf"), "etc/procmailrc": "# postseal\n"}
	if w := Find(tree(t, shared)).Wired(""); len(w) > 0 {
		t.Errorf("nothing was followed: %+v", w)
	}
}

// What is missing by Wired, the plan shows: "postseal check" sends the admin there.
func TestMissingIsShown(t *testing.T) {
	for _, n := range slices.Concat(Servers, Own) {
		for _, a := range slices.Concat(n.recipe.parts, n.checked) {
			if n.group != "" {
				continue
			}
			files := followed(t, n)
			delete(files, strings.TrimPrefix(a.to, "/"))
			p := plan(t, tree(t, files), Options{Via: n})
			shown := slices.ContainsFunc(p.Lines, func(l Lines) bool { return l.File == a.to }) ||
				slices.ContainsFunc(p.Steps, func(s Step) bool { return s.What == a.to && s.Status == Would })
			if !shown {
				t.Errorf("%s: nothing is said of %s", n.Name, a.to)
			}
			if p := plan(t, tree(t, followed(t, n)), Options{Via: n}); len(p.Lines) > 0 || len(p.Notes) < len(n.recipe.notes) {
				t.Errorf("%s: followed, and it shows %+v, says %q", n.Name, p.Lines, p.Notes)
			}
		}
	}
}

// The wrapper of OpenSMTPD does nothing until an action names it.
func TestWiredWithoutAction(t *testing.T) {
	n := byName(Servers, "opensmtpd")
	files := followed(t, n)
	files["etc/smtpd.conf"] = recipeText(t, "opensmtpd/smtpd.conf") + "action \"local\" maildir alias <aliases>\n"
	w := Find(tree(t, files)).Wired("")
	if len(w) != 1 || len(w[0].Missing) != 1 || !strings.Contains(w[0].Missing[0], "action") {
		t.Errorf("%+v", w)
	}
}

// A user's own recipe counts for that user.
func TestWiredAtHome(t *testing.T) {
	root := tree(t, map[string]string{"home/alice/.procmailrc": recipeText(t, "procmail/procmailrc")})
	if w := Find(root).Wired("/home/alice"); len(w) != 1 || w[0].Name != "procmail" || len(w[0].Missing) > 0 {
		t.Errorf("%+v", w)
	}
	if w := Find(root).Wired(""); len(w) > 0 {
		t.Errorf("for root: %+v", w)
	}
}
