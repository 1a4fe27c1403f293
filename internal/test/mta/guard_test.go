package mta

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestGuard lets a test process die in the middle of things: the mail server that
// it started, and its directory, must go too.
func TestGuard(t *testing.T) {
	const variable = "POSTSEAL_MTA_TEST_DIES"
	if os.Getenv(variable) != "" {
		os.Stdout.WriteString("dir " + StartPostfix(t, Postfix{}).Dir + "\n")
		os.Exit(0) // without any Cleanup
	}
	needRoot(t)
	t.Parallel()
	child := exec.Command(os.Args[0], "-test.run=^TestGuard$")
	child.Env = append(os.Environ(), variable+"=1")
	out, err := child.Output()
	dir, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "dir ")
	if err != nil || !ok {
		t.Fatalf("%v: %s", err, out)
	}
	WaitFor(t, "the directory to go", func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	})
	WaitFor(t, "the processes to go", func() bool { return len(processesIn(dir)) == 0 })
}

func TestReadMbox(t *testing.T) {
	file := t.TempDir() + "/mbox"
	if mail := ReadMbox(t, file); len(mail) != 0 {
		t.Errorf("no file: %q", mail)
	}
	text := "From a@b Sun\nSubject: 1\n\none\n\nFrom c@d Sun\nSubject: 2\n\ntwo\n\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if mail := ReadMbox(t, file); len(mail) != 2 || string(mail[0]) != "Subject: 1\n\none\n" || string(mail[1]) != "Subject: 2\n\ntwo\n" {
		t.Errorf("%q", mail)
	}
}

func TestPackagesAreListed(t *testing.T) {
	var list []byte
	for _, name := range []string{"packages", "packages-containers"} {
		text, err := os.ReadFile(Root(t) + "/.ci/" + name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, text...)
	}
	for program, name := range packages {
		if !strings.Contains(string(list), "\n"+name+" ") {
			t.Errorf("%s needs the package %s, which is not in .ci/packages", program, name)
		}
	}
}
