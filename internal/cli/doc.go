// Package cli is what the programs of postseal have in common: how they read flags,
// environment and configuration file, where they write their log, what they give up, and how
// they end.
//
// A value is the flag's, or else the environment's (POSTSEAL_ and the flag's name in
// capitals), the TOML file's, or the default. The file's keys are the flags' names, so one
// file serves all programs; a key that belongs to no program is an error, since otherwise
// nobody would notice a misspelt option for months.
//
// A program ends with one line on stderr, "PROGRAM: error: …", a second one "PROGRAM: hint:
// …" if a next step is known, and an exit status of sysexits.h for mail servers.
//
// # The log in the journal
//
// A service's standard error is a stream to the journal, which takes each line for a message
// and does not look into it. A program that detects this (JOURNAL_STREAM) may speak the
// journal's native protocol instead, and then
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
// Values come from strangers. Each is one line of printable text of at most 4,000 bytes, so
// that it stays one in any view of journalctl(1) and in any program that reads its output;
// only a stack keeps its lines, preceded by their length. Nothing in a value can end it, so
// nothing in it can start another field or another entry.
//
// The journal finds the service of an entry by its process. It finds none if that has ended,
// so search for postseal-pipe's entries by name (journalctl -t) and not by unit.
//
// If the journal does not accept an entry in a moment, the entry goes to standard error: a
// log must not hold up mail.
//
// # What a program gives up
//
// With Confine a program gives up what it no longer needs: being debugged, gaining
// privileges, and most of the file system.
//
// The mail half reads foreign mail. If a mail should ever take it over, the process has no
// more to offer than a list of directories: it reads pending/, writes answers/, and reads the
// files that names, certificates and times need. It writes nothing anywhere else, starts no
// program (no rule here lets a file be executed) and leaves no core file with a password in
// it. All of this comes on top of users and modes, which it never widens.
//
// The network stays as it is: the admin chooses the SMTP server's port, the port of DNS and
// the address of the milter's own metrics. So do connections to unix sockets, which Landlock
// knows only since version 9.
//
// Rules are bound to files, not to names. For a file that does not exist yet, the rule
// therefore allows the nearest existing directory above it, and in a program that runs for
// months, a file that others replace (resolv.conf) is allowed with its directory. If somebody
// removes a state directory and makes a new one, that is out of reach until the program
// restarts.
package cli
