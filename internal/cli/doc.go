// Package cli is what the programs of postseal have in common: how they read
// flags, environment and configuration file, where their log goes, what they give up,
// and how they end.
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
//
// # What a program gives up
//
// With Confine a program gives up what it does not need any more: that it can be
// looked into, that it can gain privileges, and most of the file system.
//
// The mail half reads foreign mail. Should that ever take it over, the
// process has no more to offer than a list of directories: it reads pending/, writes
// answers/, and reads what names, certificates and times are made of. It makes
// nothing anywhere else, starts no program (no rule here lets a file be executed)
// and leaves no core file with a password in it. All of this comes on top of users
// and modes, which it never widens.
//
// The network is left as it is: the SMTP server's port, DNS on any port and
// whatever address the milter's own metrics have are the admin's to choose. So are
// connections to unix sockets, which Landlock knows only since version 9.
//
// Rules are bound to files, not to names. A file that does not exist yet is therefore
// allowed below the nearest directory that does, and in a program that runs for
// months a file that others replace (resolv.conf) is allowed with its directory.
// A state directory that is removed and made anew is out of reach until the
// program is started again.
package cli
