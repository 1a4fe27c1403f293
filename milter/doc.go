// Package milter sits between a mail server and the decision: it speaks the milter protocol,
// by which Postfix and Sendmail show each message to a filter while the client waits, and
// hands possible challenges to internal/challenge.
//
// A mail server sees one challenge in a million messages, so the cost of all others decides
// each step of a message's life:
//
//  1. MAIL. While no order waits for a challenge, the message is accepted here, and the
//     server shows nothing more of it. Config.Pending knows that from memory.
//  2. Header fields. The server sends them in one stream without replies, and they are kept
//     as they were signed, white space and all, in a reused buffer. Beyond 64 KiB or 200
//     fields nothing is kept: such a message is ordinary mail. Recipients are not requested.
//  3. End of the header. The message is accepted unless its Subject is a challenge's.
//  4. Body, up to 1 MiB.
//  5. End of the message. Config.Answer decides, and blocks as long as it takes. The reply
//     accepts a message with the verdict none or refused, is 451 for later, and accepts or
//     discards an answered challenge as configured.
//
// # The files
//
//	dialogue.go    the conversation: a function from the server's bytes to ours
//	negotiate.go   what we ask a mail server for, within what it offers
//	message.go     the kept part of a message, and its bounds
//	loop_linux.go  one thread with epoll(7) that serves all connections
//	conn.go        a goroutine that serves one
//	server.go      start, stop and counters
//
// On Linux one thread serves all connections, because the cost of a message is above all the
// number of system calls and of threads woken: it takes a sixth of the CPU time of a
// goroutine for each connection, and a third of that of a milter in C. A connection leaves
// the loop for a goroutine, for good, when it has to wait: for a decision, or for a peer that
// does not read its replies. On other systems, and for listeners that are not kernel sockets,
// goroutines serve all. Both hand the bytes to the same dialogue.
//
// go-milter names the protocol's codes and is the client in tests. Its server is not used: it
// holds whole packets, has no deadlines and sends replies that nobody negotiated.
//
// # Bounds
//
//   - A packet of up to 4 KiB is taken whole, anything longer as it arrives. An idle
//     connection costs 400 bytes, and 4 KiB more if its peer stops within a packet.
//   - Config.MaxHeld bounds the bytes kept of messages over all connections. A challenge that
//     does not fit gets 451; other mail is accepted as ever.
//   - The loop checks all deadlines together every few seconds, so they are up to a quarter
//     late.
//   - A connection over the cap is closed at once: mail servers then go on without the
//     milter, which is better than making them wait.
//   - When Serve has to stop, it closes connections between two messages and lets the others
//     finish theirs.
//
// Trouble of our own never rejects mail. If the connection is closed, the mail server's
// default action applies, which our recipes set to accept.
package milter
