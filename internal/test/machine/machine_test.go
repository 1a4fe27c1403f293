package machine_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"postseal/internal/test/machine"
	"postseal/internal/test/mta"
)

// pipe is in the kit. Whoever lives on the machine has it open.
const pipe = "pipe"

var kit = machine.Kits{Fill: func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, pipe), 0o600) }}

// kitVar tells the test that will be killed which kit its machine takes.
const kitVar = "MACHINE_TEST_KIT"

// A machine ends with the test that runs it, and so do its daemons, even if the test is
// killed.
func TestKilled(t *testing.T) { killed(t, false) }

// The same where systemd runs the daemons.
func TestKilledBooted(t *testing.T) { killed(t, true) }

func killed(t *testing.T, boot bool) {
	if machine.Inside() {
		live(t)
		return
	}
	mta.NotShort(t)
	if dir := os.Getenv(kitVar); dir != "" {
		_, err := machine.Run(t, machine.Spec{Image: machine.Host, Kit: dir, Boot: boot})
		t.Fatalf("the machine ended before this test: %v", err)
	}
	dir, err := kit.Path()
	if err != nil {
		t.Fatal(err)
	}
	test := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	test.Env = append(os.Environ(), kitVar+"="+dir, "TMPDIR="+t.TempDir())
	test.Stderr = os.Stderr
	if err := test.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, pipe))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	if line, err := r.ReadString('\n'); err != nil {
		t.Fatalf("the machine said %q: %v", line, err)
	}
	if err := test.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = test.Wait()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 { // until the last one has closed it
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

// live starts a daemon and waits for the end.
func live(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(machine.Kit, pipe), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command("setsid", "--fork", "sleep", "infinity")
	daemon.Stdout = f
	if err := daemon.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("here\n"); err != nil {
		t.Fatal(err)
	}
	select {}
}
