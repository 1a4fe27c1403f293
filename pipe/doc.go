// Package pipe answers one message from stdin, for procmail, sieve, maildrop, Exim, OpenSMTPD
// and the pipe transport of any mail server.
//
// A message's life:
//
//  1. Run reads the header block. If no Subject is a challenge's, it reads and forgets the
//     rest, and sets up nothing else: that is ordinary mail.
//  2. Otherwise it reads the message into memory, up to challenge.MaxMessage.
//  3. internal/challenge decides and replies; the verdict becomes an exit status.
//
// Run always reads stdin to its end: a mail server whose write fails takes that for a failed
// delivery. It writes nothing to stdout unless asked to, because some mail servers put that
// into a bounce.
package pipe
