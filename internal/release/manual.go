package main

import "path"

// manuals are the manual pages, by the section they are in.
var manuals = map[string]string{
	"cmd/postseal/postseal.1":               "1",
	"cmd/postseal-demo/postseal-demo.1":     "1",
	"cmd/postseal-pipe/postseal-pipe.1":     "1",
	"internal/cli/postseal.toml.5":          "5",
	"cmd/postseal-milter/postseal-milter.8": "8",
}

// addManuals puts the manual pages into a tree, below dir.
func (r release) addManuals(t tree, dir string) error {
	for page, section := range manuals {
		if err := t.copy(r.Root, page, path.Join(dir, "man"+section, path.Base(page))); err != nil {
			return err
		}
	}
	return nil
}

// completions are where a shell's script is in an archive and on a Debian system.
var completions = map[string][2]string{
	"bash": {"completion/postseal.bash", "usr/share/bash-completion/completions/postseal"},
	"zsh":  {"completion/_postseal", "usr/share/zsh/vendor-completions/_postseal"},
	"fish": {"completion/postseal.fish", "usr/share/fish/vendor_completions.d/postseal.fish"},
}

const (
	inArchive = 0
	inDebian  = 1
)

// addCompletions puts the scripts into a tree.
func (r release) addCompletions(t tree, where int) error {
	for shell, names := range completions {
		script, err := r.completion(shell)
		if err != nil {
			return err
		}
		t[names[where]] = file{script, 0o644}
	}
	return nil
}
