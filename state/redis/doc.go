// Package redis is a state.Store on Redis or Valkey, for sites where the order is made
// on one host and the challenge may arrive at any of several MX hosts.
//
// Only what the mail half may know is there: who waits for a challenge, and which
// challenges were answered. Accounts, orders, keys and certificates stay on the disk of
// the issuing half.
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
// Channels {postseal}:pending and {postseal}:answers carry the KEY or ID that changed.
// Nothing depends on them but how soon somebody wakes: all who wait look by themselves,
// too. The mail half removes no answers; the issuing half does so after thirty days.
//
// # Claims
//
// A claim is one script: the record is there, no attempt was sent or may have been, no
// lock lives; then the answer and the lock are written. The table of package state
// holds; an expired lock counts as that of a process that died. Only who has
// the lock goes from "claimed" to "sending", so a process that was stopped for longer
// than its lock lives does not send. Each script can be run again by the same owner
// with the same outcome, because a reply of Redis can be lost.
//
// All times on which hosts have to agree are Redis' own.
//
// # Who waits
//
// Ordinary mail asks nobody: an Index keeps in memory whether anybody waits, and asks
// Redis three times a second. It says that nobody waits only within a lease of one
// second since it asked. Put, when it wrote the first of those who wait, returns when
// that lease has passed; so when the order is sent to the CA, no host believes any more
// that nobody waits. Only the first order of a burst waits for this. While Redis is
// away every message's Subject is looked at, and a challenge is put off.
//
// # What others write
//
// A mail half that was taken over can write any answer, note and sign of life, of any size
// and with any score. Scripts cut them on the server: what is larger than state.MaxRecord is
// foreign, times that JSON cannot say are left out, and scores of the future end. And no reply
// of the server itself is believed to be as long as it says (bound.go).
//
// # What can be lost
//
// Redis acknowledges before it writes. With "appendfsync everysec" a crash can take
// two seconds of changes with it, and the failover of Sentinel or a Cluster what its replica
// had not received yet:
//
//   - a pending record: its challenge is not answered; the order waits until it is given
//     up, and the next one succeeds;
//   - a claim or its outcome: a second delivery of the same challenge may be answered
//     again, with the same digest to the same address; or the order does not learn of the
//     answer before it looks at the CA;
//   - that an order ended: its record waits until it expires. An answer to a challenge for
//     it proves nothing to anybody but its CA, and that has the order closed.
//
// None of these gets a certificate to a stranger: what is answered, and to whom, is
// decided by what the CA has signed.
package redis
