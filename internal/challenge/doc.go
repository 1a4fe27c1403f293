// Package challenge decides about mail that may be an ACME challenge, and answers
// the genuine ones.
//
// A CA that is asked for an S/MIME certificate wants to see that who asks reads
// the mail of the address. It splits a random token: one part goes to the ACME
// client over HTTPS, the other to the address by mail, and a reply must come back
// from there with a digest over both (RFC 8823). An answer to such a mail can
// give a stranger a certificate for the mailbox, so all that matters here is to
// answer the mails of a CA that the admin's own client has just ordered from, and
// no others. The client has left what it knows in the state directory; this
// package adds what the mail says, and replies.
//
// # A message's life
//
//  1. A mail server hands it over: to the milter, or to postseal-pipe on stdin. Candidate says of ordinary mail that it is such, by its Subject.
//  2. parse takes the header apart, within the bounds of rule 2.
//  3. findPool looks who waits at the addresses in To. Nobody: not ours,
//     and the DNS was not asked.
//  4. The checks of exam.go are made, from cheap to dear. The first that fails is
//     the reason of the verdict: refused, or later if it could not be made now. If
//     the client has not read its token yet, that is waited for, up to 10 s.
//  5. The signature is verified (genuine.go): an Authentication-Results of a host
//     that the admin trusts, S/MIME or DKIM. It says which fields it covers, and
//     the checks after it believe only those.
//  6. The reply is built, signed if there is a key for its domain, and the
//     challenge is claimed in the state directory.
//  7. The reply is submitted. Before the final dot the claim becomes "sending",
//     and after it what the server said: sent, failed, unknown, or given back.
//  8. The verdict goes back to the mail server, with one reason for the log. The
//     message itself is delivered whatever the verdict was.
//
// # Threat model
//
// Strangers write the whole message and envelope, replay what a CA has signed,
// add, double and reorder fields on the way, run domains and their DNS, and order
// certificates for other people's addresses at the same CA. They do not hold the
// CA's keys and do not write the CA's DNS. The CA itself may be careless but does
// not want another's mail: what it sends back cannot become more than one reply to
// itself. The rules, each with the tests that hold it; names with a star are files
// of testdata/golden:
//
//  1. Ordinary mail, and challenges nobody waits for, cost no look-up and leave no
//     trace. TestNoneCostsNoLookup, BenchmarkOrdinary, *-nobody-waits, *-unknown, *-expired.
//  2. What one message can cost is bounded: 64 KiB and 200 fields of header, 1 MiB
//     of message, 10 addresses in To, 5 signatures with 200 names
//     each, 2 MiB of body hashed, and never more than 8 look-ups in the DNS, each
//     with a bounded number of questions (package resolve). What the SMTP server says
//     to the reply is bounded in time and bytes (package submit). TestHostileCost,
//     BenchmarkHostile, TestGolden (look-ups of each case).
//  3. A field that may occur once occurs once. DKIM signs the bottom one of two and
//     people read the top one. *-added-above, *-added-below, *-twice.
//  4. The challenge is for an order that is known: From is who the CA said it would
//     be, To is one mailbox, and exactly one record fits. To alone says whose
//     challenge it is: the envelope is a stranger's to write, and a genuine challenge
//     to him, handed in with our address at RCPT, is his and not ours. 2*-from-*,
//     2*-to-*, 2*-alias*, 6*-two-cas*.
//  5. From, To and Subject are covered by a signature of From's own domain or
//     mailbox, over the whole body, with a key that counts; every other field is
//     believed only if it is covered too. *-h-*, 4*, 5*, 9*-from-*; TestForeignSigners.
//  6. The reply goes to From, or to a covered Reply-To in From's domain: a reply
//     that leaves the CA's domain is a reply to somebody else. *-reply-to-*.
//  7. An old challenge is not a new one: Date, t= and x= are looked at. *-date-*,
//     4*-t-*, 4*-x-*.
//  8. One challenge is answered once, by whatever number of processes, and what may
//     have been sent is not sent again. Answered is what was: a copy of it, by its
//     token-part1, and no other challenge for that order, since a mail that nobody
//     has answered may not be discarded. TestAnotherChallenge,
//     TestAnotherChallengeAfterTrouble, TestAnotherChallengeAtOnce, TestAnswerOnce, TestAnswerSMTPTrouble,
//     TestGolden (second delivery of each case), and the tests of package state.
//  9. In doubt there is no answer. Anything that cannot be known now is later and
//     not refused; anything that can never be right is refused and not later. *-servfail,
//     *-timeout, 5*-refused, *-temporary-*, *-part2-*; TestResolver.
//  10. Nothing of the message goes into the reply but the token, which has an
//     alphabet, the Message-ID, which has a form, and addresses that need no
//     quotes. FuzzReply, TestRecordAddressIsNoInjection, *-token-*, *-message-id-*.
//  11. One reading. Where our reader and the library's could differ, or a reader
//     that knows comments and one that does not, the difference is refused. A header
//     line with white space before its colon is the field it names; one that is no
//     field is refused, since Postfix ends the header there and others go on. The
//     line of an mbox file is not a field: package pipe cuts it off stdin. No letter and no
//     space of Unicode counts as one of ASCII, whatever Unicode folds. FuzzTags,
//     FuzzSubject, FuzzFields, TestAuthservIDIsASCII, TestFoldedIntoASCII,
//     *-encoded-*, *-injection, *-mbox-*, *-header-*.
//  12. Less than a signature counts only where the admin has said so for that CA,
//     and then only in that point. 8*.
//  13. No key and no password of the issuing half is within reach: a token and a
//     thumbprint are all there is. TestImports of package layout.
//  14. A reason is one printable line whatever is in the message. TestGolden, of
//     each case; FuzzAnswer.
//  15. So many replies an hour and no more, to one CA and in all, counted over all
//     processes: the stolen key of a CA makes no mailer of us. TestRate, TestRateAtOnce.
//
// The remaining risk: a stranger who orders a certificate for somebody's address at the same CA at
// the same time has the CA send a genuine challenge there, and its answer uses up
// the order's one answer. The order then fails; nobody gets a certificate.
package challenge
