// Package milter sits between a mail server and the decision: it speaks the
// milter protocol, by which Postfix and Sendmail show each message to a filter
// while the client waits, and hands those that may be challenges to
// internal/challenge.
//
// A mail server sees one challenge in a million messages, so the life of a
// message is arranged by what the others cost:
//
//  1. MAIL. While no order waits for a challenge the message is accepted here,
//     and the server shows nothing more of it. Config.Pending knows that from
//     memory.
//  2. Header fields. They come in one stream without replies, and are kept as
//     they were signed, white space and all, in a buffer that is used again.
//     Beyond 64 KiB or 200 fields nothing is kept: such a message is ordinary mail.
//     Recipients are not asked for.
//  3. End of the header. The message is accepted unless a Subject field of it is
//     that of a challenge.
//  4. Body, up to 1 MiB.
//  5. End of the message. Config.Answer decides, and blocks as long as it takes.
//     None and refused are accepted, later is 451, answered is accepted or
//     discarded as configured.
//
// # The files
//
//	dialogue.go    what is said: a function from the server's bytes to ours
//	negotiate.go   what we ask a mail server for, within what it offers
//	message.go     what is kept of a message, and what bounds it
//	loop_linux.go  one thread with epoll(7) that serves all connections
//	conn.go        a goroutine that serves one
//	server.go      start, stop, and what is counted
//
// On Linux one thread serves all connections, because what a message costs is above
// all how often the kernel is called and threads are woken: that is a sixth of the
// CPU time that a goroutine for each connection takes, and a third of what a milter
// in C does. A connection leaves the loop for a goroutine, for good, when something
// has to be waited for: a decision, or a peer that does not read its replies.
// Elsewhere, and for listeners that are not sockets of the kernel, goroutines serve
// all. Both hand the bytes to the same dialogue.
//
// go-milter names the protocol's codes and is the client in tests. Its server is not
// used: it holds whole packets, has no deadlines and answers what was not offered.
//
// # Bounds
//
//   - A packet of up to 4 KiB is taken whole, anything longer as it comes. An idle
//     connection costs 400 bytes, 4 KiB more if its peer stops within a packet.
//   - What is kept of messages is bounded over all connections together
//     (Config.MaxHeld). A challenge that does not fit gets 451, other mail is
//     accepted as ever.
//   - The loop looks at deadlines every few seconds, all at once: they are up to a
//     quarter late.
//   - A connection over the cap is closed at once: mail servers then go on without
//     the milter, which is better than to make them wait.
//   - When Serve is told to stop, connections between two messages are closed and
//     the others may finish theirs.
//
// Trouble of our own never rejects mail. Where the connection is closed, the mail
// server's default action applies, which our recipes set to accept.
package milter
