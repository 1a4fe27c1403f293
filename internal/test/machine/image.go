package machine

import (
	_ "embed"
	"os"
	"os/exec"
	"strings"
	"testing"
)

//go:embed images.sh
var imagesScript string

// MakeImage makes an image, where it is not in the cache, or ends the test.
func MakeImage(t testing.TB, image string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("machines need mounts and namespaces, which only root can make; run it as root")
	}
	if image == Host {
		return
	}
	cmd := exec.Command("bash", "-s", "--", Cache(), image)
	cmd.Stdin = strings.NewReader(imagesScript)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("images.sh: %v\n%s", err, out)
	} else if len(out) > 0 {
		t.Logf("%s", out)
	}
}
