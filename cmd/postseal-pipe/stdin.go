package main

import (
	"bytes"
	"io"
	"os"

	"postseal/pipe/glance"
)

// stdin is the message. Package glance has read the start of it before main, and
// most messages come no further.
func stdin() io.Reader {
	return io.MultiReader(bytes.NewReader(glance.Read), os.Stdin)
}
