// Package enroll plans how certificates follow the mailboxes of a mail server: who is to
// have one, and who has left. It orders and revokes nothing itself.
//
// A Table says where the list of the mailboxes of a domain comes from and what is done
// with those that are no longer in it. ReadSource reads the list, Book is what earlier
// runs remember, Plan compares the two with the certificates that there are.
//
// # Files
//
//	certs/.enroll/DOMAIN.json    what is remembered of the addresses of a table
//	certs/.enroll/_others.json   the same for the table of "*"
//	certs/.enroll/.lock          while a run works
//
// A file has the addresses of the last list that was accepted, and of those that are no
// longer in it the ones with certificates. All but a few have nothing to be remembered, so
// 100,000 take 3 MB.
//
// # The life of an address
//
//	it is                          remembered                  what a run does
//	in the list, without           wanted since                orders, or resumes the order
//	in the list, its order failed  failures, error, next try   nothing until then
//	in the list, with              its name                    leaves it to "renew"
//	not in the list any more       gone since                  nothing for the grace
//	gone for the grace             left since                  revokes if the table says so; "renew" leaves it alone
//	in the list again              as if never gone, or as if new if it had left
//	gone for the grace, without    nothing
//
// # Killed anywhere
//
// A run writes the new memory before its first step, so that "renew" leaves alone who has
// left before anything is revoked. Each step is planned from what certificates and orders
// there are, never from what a run remembers to have done: the next run resumes an order
// that was begun, leaves a certificate that was issued to "renew", and does not revoke
// again what is revoked. What Failed and Succeeded noted and was not saved costs one
// attempt before its time. So it is enough to save now and then, and at the end.
package enroll
