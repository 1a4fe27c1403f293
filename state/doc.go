// Package state is where the two halves of postseal meet: a Store, which is a directory
// (Dir) or, for several MX hosts, Redis (package redis).
//
// RFC 8823 splits a challenge in two: the ACME client receives token-part2 over HTTPS, and a
// mail brings token-part1. The issuing half writes what it knows into pending/. The mail half
// adds the mail's part, replies, and writes into answers/ that it did. Neither needs anything
// else of the other, and the mail half never sees a key: the reply is a digest over the two
// tokens and the thumbprint of the account's public key.
//
//	accounts/ orders/ certs/   0700                    the issuing half's alone
//	pending/                   2750 issuer:postseal    written by the issuing half
//	answers/                   3770 issuer:postseal    written by the mail half
//
// # pending/
//
// One JSON file for each address and CA (type Pending), named after the address, so that a
// look-up costs the same among 100,000 files as with one. A second CA that waits for the same
// address gets ADDRESS.2.json, and so on up to 9. The names are only a convenience: while the
// directory has never been large, a reader also finds files of any other name that ends in
// .json. Names that start with a dot are files being written.
//
//	state       token, from    meaning
//	ordering    empty          written before the order is sent: the challenge may
//	                           arrive before the client has read the authorization
//	pending     set            the mail half may answer
//	(no file)                  nobody waits; the order ended
//
// # answers/
//
// One JSON file for each attempt to answer (type Answer): ID.json, and ID.2.json, ID.3.json …
// for later attempts. Only the last one counts. A file appears with its final content and its
// lock by link(2), which fails if the name is taken: that is the claim, and it is what makes
// one challenge answered at most once.
//
//	phase      lock    meaning                                   a new delivery
//	claimed    held    a process works on it                     leaves it alone
//	claimed    free    its process died before the final dot     may claim the next attempt
//	sending    held    the final dot is on its way               leaves it alone
//	sending    free    its process died: perhaps it was sent     leaves it alone (unknown)
//	unknown    -       the connection broke after the dot        leaves it alone
//	sent       -       the SMTP server said 250                  leaves it alone
//	failed     -       the SMTP server refused it for good       may claim the next attempt
//	(no file)  -       the claim was given back                  may claim
//
// The lock is a flock(2) on the file, so it ends with the process and needs no clock. Nobody
// removes an attempt to make room for the next: two processes that both believe a claim dead
// would otherwise both succeed. "sending" is on disk, directory entry included, before the
// final dot leaves.
//
// A file .count-HOUR, HOUR in hours since 1970, has a line for each claim made or given back
// in that hour; --max-answers reads these. Without them it counts the answers themselves.
//
// ID.note.json (type Note) holds the latest refusal or delay among the mails for a pending
// record: at most one for each record, written at most once a minute, by whichever user of
// the mail half was first. Strangers can cause it, so it ends no wait and proves nothing. It
// is removed with the record. .alive-HOST holds the time at which a milter last said that it
// runs on a host: at its start and every five minutes. Ordinary mail writes nothing.
//
// # What others put there
//
// Each half opens the other's files by one function, OpenForeign: it follows no link, never
// waits, and treats anything but a regular file of bounded size as damaged. The rules are in
// foreign.go and, by number, in SECURITY.md.
//
// # Writing
//
// Every write is a temporary file in the same directory, fsync and rename (or link), so that
// a power cut leaves the old content or the new. Where a file promises something, its
// directory is synced as well before the network hears of it (WriteDurable):
//
//	file                           on disk before                      what would be lost else
//	accounts/CA/key.pem            newAccount                          the account
//	accounts/CA/key.next.pem       keyChange                           the account
//	orders/NAME.json, as begun     newOrder                            which record is whose
//	orders/NAME.json with its key  finalize                            the key of a certificate
//	pending/, "ordering"           newOrder                            the one challenge mail
//	answers/, "sending"            the final dot                       that it was answered once
//	certs/NAME/                    the order's file is removed         the key of a certificate
//	certs/.previous/               certs/NAME is exchanged             the key to mail received
//	certs/.compromised/            revokeCert                          that the key is burnt
//	certs/NAME/, "revoked"         "revoke" ends                       that nobody wants it renewed
//
// A power cut may undo the last of all other writes, and the CA or the next run makes up for
// it: account.json (the same key finds the account), the URL of an order (the next run orders
// again), a record's token (the next run reads the authorization again), that an answer was
// claimed (nothing was sent) or sent ("sending" without a process means unknown), renewal
// windows, a CA's learned habits. A history loses its last events, which only people read. A
// batch writes thousands of files, and each sync of a directory waits for the disk.
//
// A file that is not a whole record of a known version is damaged: Dir.Damaged receives its
// name, once, and the reader skips it; it is never fatal. A record of a newer version is not
// damage but a NewerError: its reader has to give up.
package state
