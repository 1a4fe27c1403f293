// Package issuer is the issuing half of postseal: it orders certificates for
// mail addresses over ACME (RFC 8555, RFC 8823) and never looks at mail.
//
// # The life of an order
//
// Each line is a state on disk. A kill in any of them leaves what the last column
// says; the next cert or renew for the same addresses goes on from there.
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
// Between 3 and 5 the CA may know an order that we do not; the next run orders a
// second time, since ACME has no way to ask that all CAs offer.
//
// An order that dies (invalid, expired, forgotten by the CA) is removed with its
// records. If it died through no fault of the challenge, another one is ordered.
// An order whose CSR was refused keeps the CA's words, and is given up if the CA shows it
// as alive for a minute more. Cancel gives up any.
//
// # Rooms
//
// The walk along the table is in obtain.go, order.go, authz.go, watch.go, finalize.go and
// keep.go, in this order; what all of them need of a run is in run.go. It goes through rooms
// that know of no run: issuer/store is the issuer's disk, issuer/ca one CA over ACME,
// issuer/cert what a certificate is made of. The order's file is written by run.update alone.
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
// A history is for "status" alone: an order goes on if it cannot be written, and it may be
// removed at any time. Issuer.tell writes it; a year after its last event it goes.
//
// # When a certificate is due
//
// At a random moment in the window that the CA suggests (RFC 9773), else at the
// beginning of the last third of its lifetime. The window is asked for right
// after issuance, kept in renewal.json, and asked for again by each run after its
// Retry-After, which is taken as a minute at least and a day at most (Section 4.3), from
// the first day on: a window that an incident has put into the past is acted on by the
// next run, however young the certificate. What is added to Retry-After at random
// spreads the questions of certificates that were ordered together; eight at a time go
// to each CA, and one that cannot be reached is not asked again in that run.
//
// # Several CAs
//
// A failure stays with its CA: see Issuer.Batch. Orders for one address at one CA follow
// each other, of whatever processes: see store.Disk.LockOrder.
package issuer
