// Package state is where the two halves of postseal meet: a Store, which is a directory
// (Dir) or, for several MX hosts, Redis (package redis).
//
// RFC 8823 splits a challenge in two: token-part2 comes to the ACME client over
// HTTPS, token-part1 comes by mail. The issuing half writes what it knows into
// pending/; the mail half adds what the mail says, replies, and writes into
// answers/ that it did. Neither needs anything else of the other, and the mail
// half never sees a key: the reply is a digest over the two tokens and the
// thumbprint of the account's public key.
//
//	accounts/ orders/ certs/   0700                    the issuing half's alone
//	pending/                   2750 issuer:postseal    written by the issuing half
//	answers/                   3770 issuer:postseal    written by the mail half
//
// # pending/
//
// One JSON file for each address and CA (type Pending), named after the address,
// so that looking one up costs the same with one file as with 100,000. A second
// CA that waits for the same address gets ADDRESS.2.json, and so on up to 9.
// Names are a convenience of ours: a file of any other name that ends in .json is
// read too as long as the directory has never been large. Names that start with a dot are files
// being written.
//
//	state       token, from    meaning
//	ordering    empty          written, the order is about to be sent: the challenge may
//	                           arrive before the client has read the authorization
//	pending     set            the mail half may answer
//	(no file)                  nobody waits; the order ended
//
// # answers/
//
// One JSON file for each attempt to answer (type Answer): ID.json, and ID.2.json,
// ID.3.json … for later attempts. Only the last one counts. A file appears with
// its final content and its lock by link(2), which fails if the name is taken:
// that is the claim, and it is what makes one challenge answered at most once.
//
//	phase      lock    meaning                                   a new delivery
//	claimed    held    somebody is at it                         leaves it alone
//	claimed    free    its process died before the final dot     may claim the next attempt
//	sending    held    the final dot is on its way               leaves it alone
//	sending    free    its process died: perhaps it was sent     leaves it alone (unknown)
//	unknown    -       the connection broke after the dot        leaves it alone
//	sent       -       the SMTP server said 250                  leaves it alone
//	failed     -       the SMTP server refused it for good       may claim the next attempt
//	(no file)  -       the claim was given back                  may claim
//
// The lock is a flock(2) on the file, so it ends with the process and no clock is
// asked. An attempt is never removed to make room for the next: two processes
// that both believe a claim dead would otherwise both succeed. "sending" is on
// disk, directory entry included, before the final dot leaves.
//
// A file .count-HOUR, HOUR in hours since 1970, has a line for each claim of that hour
// and each that was given back: they are what --max-answers looks at. Without them the
// answers themselves are counted.
//
// ID.note.json (type Note) says what was refused or put off last of the mails for a record
// that is pending: at most one for a record, written at most once a minute, by whichever
// user of the mail half came first. Strangers can cause it, so it ends no wait and proves
// nothing. It goes with the record. .alive-HOST says when a milter last said that it runs on
// a host: at its start and every five minutes. Ordinary mail writes nothing.
//
// # What others put there
//
// Each half opens the other's directory by one function, OpenForeign: no link is followed,
// nothing waits, and anything but a regular file of bounded size is damaged. The rules are in
// foreign.go and, by number, in SECURITY.md.
//
// # Writing
//
// Every write is a temporary file in the same directory, fsync and rename (or
// link), so that a power cut leaves the old content or the new one. Where something is
// promised, the directory is synced, too, before the network hears of it (WriteDurable):
//
//	file                           on disk before                      what would be lost else
//	accounts/CA/key.pem            newAccount                          the account
//	accounts/CA/key.next.pem       keyChange                           the account
//	orders/NAME.json, as begun     newOrder                            which record is whose
//	orders/NAME.json with its key  finalize                            the key of a certificate
//	pending/, "ordering"           newOrder                            the one challenge mail
//	answers/, "sending"            the final dot                       that it was answered once
//	certs/NAME/                    the order's file goes               the key of a certificate
//	certs/.previous/               certs/NAME is exchanged             the key to mail received
//	certs/.compromised/            revokeCert                          that the key is burnt
//	certs/NAME/, "revoked"         "revoke" ends                       that nobody wants it renewed
//
// Of all other writes a power cut may take the last ones back, and what the CA or the
// next run then tells makes up for it: account.json (the same key finds the account), the
// URL of an order (it is ordered anew), a record's token (the authorization is read
// again), that an answer was claimed (nothing was sent) or sent ("sending" without a
// process means unknown), renewal windows, what a CA has taught. The last
// events of a history are lost, which people alone read. A batch writes thousands of
// files, and each sync of a directory waits for the disk.
//
// What cannot be read as a whole record of a known version is damaged: it
// is reported by name through Dir.Damaged, once, and skipped, never fatal. A record of a
// newer version is not damage but a NewerError: its reader has to give up.
package state
