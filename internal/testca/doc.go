// Package testca is a certificate authority for S/MIME that exists to be
// tried out against: ACME (RFC 8555) with the mail challenge email-reply-00
// (RFC 8823), complete with the mail host and the DNS server such a CA has.
//
// ACME lets a program obtain certificates without a person in between. For a
// mail address the proof of control is a mail: the CA sends half of a token
// (token-part1) in the Subject of a signed message, gives the other half
// (token-part2) over HTTPS, and wants back, by mail from that address, the
// SHA-256 digest of both halves and the account key's thumbprint. This package
// plays the CA's side of all that on loopback addresses:
//
//   - ACME over HTTPS: accounts, orders, authorizations, finalize, download,
//     revocation, key change, renewal information (RFC 9773);
//   - mail out: the challenge mail, signed with DKIM or S/MIME, handed to
//     a relay over SMTP and tried again while the relay says 4xx;
//   - mail in: an SMTP listener for replies, which are judged by RFC 8823,
//     Section 3.2;
//   - DNS over UDP and TCP: the TXT records of its own DKIM keys and of
//     whatever else a test adds.
//
// Real CAs differ in what they do with the room the RFCs leave, and sometimes
// in what they do outside of it. Config has a field for each habit that was
// seen, so that a client can be tried against all of them. Its zero value is
// a CA that follows the RFCs.
//
// It is useless in production by design: it listens on loopback only, keeps
// everything in memory, makes a new root at each start, says "postseal demo"
// in the names of its certificates, and can be told to misbehave.
//
// The package imports nothing else of this module, so that it stays a second,
// independent reading of the RFCs.
//
// # Files
//
// With Config.Dir set, Start writes root.pem (the root of the certificates and
// of the HTTPS listener) and, when challenges are signed with S/MIME,
// smime-root.pem (the root of their signer). It reads zone.txt there, afresh
// for each query; a missing file is an empty one. Its lines are
//
//	NAME TXT value up to the end of the line
//	NAME SERVFAIL | REFUSED | TIMEOUT | TRUNCATE
//
// where blank lines and lines that start with # or ; are skipped. A value in
// double quotes goes without them; nothing is an escape.
package testca
