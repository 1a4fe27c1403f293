// Package pipe answers one message from stdin: what procmail, sieve, maildrop,
// Exim, OpenSMTPD and a mail server's pipe transport can call.
//
// A message's life:
//
//  1. The header block is read. If no Subject is that of a challenge, the rest is
//     read and forgotten, and nothing else is set up: that is ordinary mail.
//  2. Otherwise the message is read into memory, up to challenge.MaxMessage.
//  3. internal/challenge decides and replies; the verdict becomes an exit status.
//
// stdin is always read to its end: a mail server whose write fails takes that for
// a failed delivery. Nothing is written to stdout unless asked for, because some
// mail servers put it into a bounce.
package pipe
