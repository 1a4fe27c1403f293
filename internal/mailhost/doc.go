// Package mailhost is the small mail host of postseal-demo: one domain, memory
// only, loopback only.
//
// It stands where Postfix stands on a real machine and treats a milter in the
// same way, so that postseal-milter can be shown, and tried, where no mail server
// is installed. A message comes in over SMTP (RFC 5321, with SMTPUTF8), is shown
// to the milter while the client waits for the answer to its final dot, and then
//
//   - is put into the mailbox of each recipient in the host's own domain; every
//     local part has one;
//   - is passed on to the relay for recipients elsewhere, signed with DKIM if it
//     is from a user of the domain and the host has a key.
//
// There is no queue: the relay is asked while the client still waits, and the
// client is told what the relay said.
//
// What the milter may say and what becomes of it, as with smtpd_milters in
// Postfix and default_action=accept:
//
//	continue, accept    the message goes its way
//	discard             250, and the message is gone
//	tempfail            451
//	reject              550
//	reply code          that code
//	nothing, nonsense   the message goes its way; the milter is not asked
//	                    again on this SMTP connection
//
// The package imports nothing else of this module.
package mailhost
