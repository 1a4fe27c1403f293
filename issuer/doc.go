// Package issuer is the issuing half of postseal: it orders certificates for
// mail addresses over ACME (RFC 8555, RFC 8823) and never looks at mail.
//
// # The life of an order
//
// Each line is a state on disk. The last column says what a kill in that state leaves; the
// next cert or renew for the same addresses continues from there.
//
//	step                        orders/NAME.json        pending/           a kill here leaves
//	1 locks in orders/.lock-*   -                       -                  nothing
//	2 account                   -                       -                  the account's key: the same account is found again
//	3 order written             url empty               -                  an order that was never sent: sent by the next run
//	4 records written           url empty               ordering           the same
//	5 newOrder answered         url set                 ordering           the order; it is resumed by its URL
//	6 authorizations read       url set                 token and from     the same; the mail half may answer meanwhile
//	7 reply sent (mail half)    url set                 token and from     the same; the answer is found in answers/
//	8 POST {} to the challenge  posted set              token and from     the same; it is not posted again
//	9 authorization valid       url set                 -                  the order, ready to be finalized
//	10 key kept, CSR sent       key, finalizing set     -                  the order and its key: downloaded by the next run
//	11 leaf checked             the same                -                  the same; nothing was replaced
//	12 certs/.NAME.new-* full   the same                -                  a directory that is removed later
//	13 exchanged with NAME      the same                -                  the new generation; written once more by the next run
//	14 stored                   stored set              -                  the copy and the hook, which the next run does
//	15 hook run, order removed  -                       -                  nothing
//	   or the hook failed       hook-error set          -                  the hook, which the next renew runs
//
// Between 3 and 5 the CA may know an order that we do not. The next run then orders a
// second time, since not all CAs offer a list of orders (RFC 8555, Section 7.1.2.1).
//
// A run removes an order that is dead (invalid, expired, forgotten by the CA), with its
// records, and orders anew if the challenge was not at fault. If the CA refuses the CSR, the
// order keeps the CA's words, and the run gives it up if the CA shows it as alive for another
// minute. Cancel gives up any order.
//
// # Rooms
//
// The walk along the table is in obtain.go, order.go, watch.go, finalize.go and keep.go, in
// this order; run.go has what all of them need. It goes through rooms that know of no run:
// issuer/store is the issuer's disk, issuer/ca one CA over ACME, issuer/cert what a certificate
// is made of. Only run.update writes the order's file.
//
// # Files
//
//	accounts/CA/             account.json, key.pem; CA is the directory's URL with + for /
//	accounts/CA/key.next.pem a rollover that the CA has not confirmed
//	orders/NAME.json         an order in flight, with the certificate's private key
//	orders/NAME.dry-run.json the same for a dry run
//	certs/NAME/              cert.pem chain.pem fullchain.pem privkey.pem cert.p12 renewal.json, passphrase
//	certs/.enroll/           what enroll remembers: see package enroll
//	certs/.previous/NAME/    former generations by serial number: old mail needs old keys
//	certs/.runs/COMMAND.json when renew and enroll last ended, and their exit status
//	certs/.history/NAME.json the last 32 events of the orders of NAME: ordered, issued, failed, given up, revoked
//
// NAME is the first address; another set of addresses that begins with the same
// one gets NAME-2, and a certificate of a kind NAME,KIND. All files are 0600.
//
// A history is for "status" alone: an order continues if Issuer.tell cannot write it, and
// anybody may remove it at any time. We remove it a year after its last event.
//
// # When a certificate is due
//
// At a random moment in the window that the CA suggests (RFC 9773), or else at the start of
// the last third of its lifetime. A run asks for the window right after issuance and keeps it
// in renewal.json. Later runs ask again after the CA's Retry-After, which counts as a minute
// at least and a day at most (Section 4.3), from the first day on: after an incident the CA
// moves a window into the past, and the next run renews, however young the certificate. A
// random addition to Retry-After spreads the requests for certificates that were ordered
// together. Each CA gets at most eight requests at a time, and no further one in a run that
// cannot reach it.
//
// # Several CAs
//
// A failure stays with its CA: see Issuer.Batch. Orders for one address at one CA follow
// each other, even those of several processes: see store.Disk.LockOrder.
package issuer
