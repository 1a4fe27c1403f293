// Package mta starts real mail servers for tests.
//
// Postfix runs here as an instance of its own, beside or without the one of the
// system: configuration, queue, log and mailboxes are in a temporary directory,
// it listens on one port of 127.0.0.1, looks up nothing in DNS, and sends what is
// not for its own domain to one relay. A test says what it wants in a Postfix
// value and gets an Instance that is already listening:
//
//	post := mta.StartPostfix(t, mta.Postfix{Users: []string{"alice"}, Relay: ca.SMTPAddr})
//	err := post.Send("ca@ca.test", "alice@example.test", message)
//	mail := post.WaitMail("alice", 1)
//
// Everything is gone when the test ends: the processes, the directory, the
// users. A guard (see guard.go) does that even if the test process is killed.
//
// # Directory of an instance
//
//	conf/      main.cf, master.cf, and Postfix's own tables
//	queue/     queue_directory; milter sockets are in queue/postseal
//	data/      data_directory, owned by postfix
//	mail/      a Maildir for each user, owned by nobody
//	maillog
//
// The tests need root, because Postfix does, and Debian's packages. Where one is
// missing they fail and say which; they are never skipped, since a test that did
// not run looks like one that passed.
package mta
