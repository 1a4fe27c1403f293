// Package pages has no code. Its tests read the README and every page in contrib/,
// and do what they say, so that nothing is shown there that does not work.
//
// # What a page may show
//
// What is not prose stands between ``` lines, and the word behind the first ``` says
// what happens to it:
//
//	sh          commands, each of which is run, from the top of the page to its end
//	toml        a configuration file: the programs load it
//	conf FILE   lines of another program: they are in FILE, which a recipe uses
//	text        what a program prints, or a drawing; no command
//	console     a session, of which TestFirstHour wants each command to print what follows
//
// Code in a sentence (`postfix reload`) that is a command is run too, in a block
// somewhere or on a list here, and links lead to something that exists. A page is not
// told what is a command: what begins with the name of a program that some page runs
// is one.
//
// # How commands are run
//
// As an admin would run them, one after the other in one shell, as root of a Debian 12
// of its own (internal/test/machine) with the mail server in question, systemd, the
// programs of this source tree, and a world around it in which the CA is our test CA.
// stories_test.go has the list of pages, each with what the machine is like before,
// what is done where the page says it in words ("your domain to FILE"), and what
// commands must print. Few commands cannot be run on such a machine; the list says
// why and what is run instead. A page that is not on the list fails the test, and so
// does a command that ends with another status than 0.
//
// # The first hour
//
// contrib/first-hour.md is its own script: in a block of console a line that begins with
// "# " is a command, one that begins with "> " goes on with the command above, and what
// follows is what the command prints. TestFirstHour (build tag packages; `make packages`)
// runs the commands in their order on a fresh machine, and wants them to print what is
// there. Of what differs each time (times, numbers, digests) only the form counts, and a
// line "…" is any lines.
//
//	go test -tags packages -run FirstHour ./internal/test/pages -update
//
// writes what was printed into the page, where it was something else.
package pages
