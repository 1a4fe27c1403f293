package redis

import (
	"flag"
	"os"
	"testing"
)

// TestMain runs more tests at the same time than there are processors: they mostly wait for
// leases.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "40"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
