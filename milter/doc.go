// Package milter stands between a mail server and the decision: it speaks the
// milter protocol, by which Postfix and Sendmail show each message to a filter
// while the client waits, and hands those that may be challenges to
// internal/challenge.
//
// A mail server sees one challenge in a million messages, so the life of a
// message is arranged by what the others cost:
//
//  1. MAIL. With nobody waiting for a challenge the message is accepted here,
//     and the server shows nothing more of it. Config.Pending knows that from
//     memory.
//  2. RCPT is left out by servers that can: recipients decide nothing.
//  3. Header fields. They come in one stream without replies, and are kept as
//     they were signed, white space and all, in a buffer that is used again.
//     Beyond 64 KiB or 200 fields nothing is kept: such a message is none.
//  4. End of the header. The message is accepted unless a Subject field of it is
//     that of a challenge.
//  5. Body, up to 1 MiB.
//  6. End of the message. Config.Answer decides, and blocks as long as it takes.
//     None and refused are accepted, later is 451, answered is accepted or
//     discarded as configured.
//
// # The loop
//
// On Linux all connections with ordinary mail are served by one thread with
// epoll(7) (loop_linux.go), because what a message costs is above all how often the
// kernel is called and threads are woken: that is a sixth of the CPU time that a
// goroutine for each connection takes, and a third of what a milter in C does. What is
// said on these connections is a function from bytes to bytes (ordinary.go). It
// knows negotiation, MAIL, RCPT, header fields, and replies to them.
//
// A connection leaves the loop for go-milter, for good, with the first packet that
// is anything else: the end of a header that is a challenge's, a body, a packet of
// unusual size, one that is none, or when the peer does not read what it is told.
// A fuzz target compares the two ways on the same bytes. Elsewhere, and for
// listeners that are no sockets of the kernel, go-milter has all connections.
//
//   - An idle connection costs 400 bytes, and 12 KiB at most if its peer stops
//     within a packet.
//   - Deadlines are looked at every few seconds, all at once: they are up to a
//     quarter late.
//
// # Around go-milter
//
// The protocol's commands and replies are go-milter's business. What it leaves
// open is done by the net.Conn that it is given: that one negotiates what this
// very server offers, reads packets through a buffer, bounds their size before
// memory is asked for, keeps deadlines, and takes header fields, body chunks and
// macros off the stream. Go-milter sees the commands that have a reply, and no
// foreign bytes but addresses.
//
//   - Each connection costs a goroutine and a buffer of 4 KiB, whatever a peer
//     claims a packet to be.
//
// # For both
//
//   - What is kept of messages is bounded over all connections together
//     (Config.MaxHeld). A challenge that does not fit gets 451, other mail is
//     accepted as ever.
//   - A connection over the cap is closed at once: mail servers then go on without
//     the milter, which is better than to make them wait.
//   - When Serve is told to stop, connections between two messages are closed and
//     the others may finish theirs.
//
// Trouble of our own never rejects mail. Where the connection is closed, the mail
// server's default action applies, which our recipes set to accept.
package milter
