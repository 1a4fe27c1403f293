package redis

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets more tests run at the same time than there are processors: most of
// what they do is to wait for leases.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "40"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
