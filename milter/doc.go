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
//  2. RCPT. The recipients are noted, without a reply where the server can do
//     without.
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
