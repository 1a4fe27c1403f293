// Package firsthour keeps contrib/first-hour.md true. There is nothing in it but a
// test, with the build tag packages; `make packages` runs it.
//
// The document is its own script: a block of console is a session of root, a line
// that begins with "# " in it a command, one that begins with "> " goes on with the
// command above, and what follows is what the command prints. The test runs the
// commands in their order on a fresh Debian machine (package machine) with a running
// systemd, and wants them to print what stands there. Of what differs each time
// (times, numbers, digests) only the form counts, and a line "…" stands for any lines.
//
//	go test -tags packages ./internal/test/firsthour -update
//
// writes what was printed into the document, where it was something else.
package firsthour
