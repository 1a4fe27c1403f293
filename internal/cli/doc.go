// Package cli is what the programs of postseal have in common: how they read
// flags, environment and configuration file, and how they end.
//
// A value comes from the flag, else from the environment (POSTSEAL_ and the
// flag's name in capitals), else from the TOML file, else from the default. The
// file's keys are the flags' names, so one file serves all programs; a key that
// belongs to no program is an error, because a misspelt option that is silently
// ignored is found months later.
//
// A program ends with one line on stderr, "PROGRAM: error: …", a second one
// "PROGRAM: hint: …" where a next step is known, and an exit status of
// sysexits.h where mail servers read it.
//
// # The log in the journal
//
// A service's standard error is a stream to the journal, which takes each line for a
// message and knows nothing of what is in it. A program that sees that
// (JOURNAL_STREAM) may speak the journal's native protocol instead, and then
//
//	journalctl -u postseal-milter POSTSEAL_ADDRESS=alice@example.org
//
// finds what a search in texts would have to guess. The fields:
//
//	MESSAGE            the line without time and level, as the text has it
//	PRIORITY           3 error, 4 warning, 6 info, 7 debug
//	SYSLOG_IDENTIFIER  the name of the program
//	POSTSEAL_*         one for each attribute, such as POSTSEAL_ADDRESS
//
// Values come from strangers. Each is one line of printable text of at most 4,000
// bytes, so that it is no more than that in any view of journalctl(1) and in whatever
// reads its output; only a stack keeps its lines, preceded by their
// length. Nothing in a value can end it, so nothing in it can begin another field or
// another entry.
//
// The journal looks up the service of an entry by its process. One that is gone by then
// has none, so what postseal-pipe says is found by its name (journalctl -t) and not
// always by its unit.
//
// What the journal does not take in a moment goes to standard error: a log must not
// hold up mail.
package cli
