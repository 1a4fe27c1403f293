// Package redis is a state.Store on Redis or Valkey, for sites that order on one host and
// receive the challenge on any of several MX hosts.
//
// It holds only what the mail half may know: who waits for a challenge, and which challenges
// were answered. Accounts, orders, keys and certificates stay on the disk of the issuing
// half.
//
// # Keys
//
// All keys begin with the prefix in braces, which makes them one hash slot of a Cluster:
// scripts over several keys need that. KEY is an address as state.Key writes it.
//
//	{postseal}:pending:KEY  hash: CA → record; expires with the last of its records
//	{postseal}:pending      sorted set: KEY by expiry (ms): who waits
//	{postseal}:since        when that set became non-empty (ms)
//	{postseal}:answer:ID    hash: json, phase, owner, before (a failed attempt before this)
//	{postseal}:answers      sorted set: ID by the last change (ms)
//	{postseal}:note:ID      hash: json, count, at: what was refused or put off; 30 days
//	{postseal}:alive        sorted set: host by when a mail half last said that it runs there (ms); 30 days
//	{postseal}:lock:ID      the owner of a living claim; expires after a minute
//	{postseal}:rate[:CA]    sorted sets: claims by time (ms), for --max-answers
//
// Channels {postseal}:pending and {postseal}:answers carry the KEY or ID that changed. They
// only make a waiting process wake sooner: each also looks by itself. The mail half removes
// no answers; the issuing half does so after thirty days.
//
// # Claims
//
// A claim is one script. It checks that the record exists, that no attempt was sent or may
// have been, and that no lock lives; then it writes the answer and the lock. The table of
// package state holds; an expired lock counts as that of a dead process. Only the lock's
// owner moves from "claimed" to "sending", so a process that was stopped for longer than its
// lock lives does not send. The same owner can run each script again with the same outcome,
// because a reply of Redis can be lost.
//
// All times on which hosts have to agree are Redis' own.
//
// # Who waits
//
// Ordinary mail asks nobody: an Index keeps in memory whether anybody waits, and asks Redis
// three times a second. It says that nobody waits only within a lease of one second since it
// asked. When Put writes the first waiting record, it returns after that lease has passed; so
// when the client sends the order to the CA, no host still believes that nobody waits. Only
// the first order of a burst waits for this. While Redis is away, the mail half looks at
// every message's Subject and puts challenges off.
//
// # What others write
//
// A compromised mail half can write any answer, note and sign of life, of any size and with
// any score. Scripts cut them on the server: they treat records larger than state.MaxRecord
// as foreign, leave out times that JSON cannot express, and cap scores in the future. And the
// client never trusts the length that a reply announces (bound.go).
//
// # What can be lost
//
// Redis acknowledges before it writes. With "appendfsync everysec" a crash can lose two
// seconds of changes, and the failover of Sentinel or a Cluster all that its replica had not
// received yet:
//
//   - a pending record: its challenge is not answered; the order waits until it is given
//     up, and the next one succeeds;
//   - a claim or its outcome: a second delivery of the same challenge may be answered
//     again, with the same digest to the same address; or the order does not learn of the
//     answer before it looks at the CA;
//   - that an order ended: its record waits until it expires. An answer to a challenge for
//     it proves nothing to anybody but its CA, and that has the order closed.
//
// None of these gives a stranger a certificate: what the CA has signed decides which reply is
// sent, and to whom.
package redis
