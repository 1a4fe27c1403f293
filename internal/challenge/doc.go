// Package challenge decides about mail that may be an ACME challenge, and answers
// the genuine ones.
//
// A CA issues an S/MIME certificate only to somebody who reads the mail of its address. It
// splits a random token: it gives one part to the ACME client over HTTPS and mails the other
// to the address, and expects a reply from there with a digest over both (RFC 8823). An
// answer to such a mail can give a stranger a certificate for the mailbox, so this package
// has one task: to answer the mails of a CA from which the admin's own client has just
// ordered, and no others. The client has left what it knows in the state directory; this
// package adds the mail's part, and replies.
//
// # A message's life
//
//  1. A mail server hands it over: to the milter, or to postseal-pipe on stdin. Candidate
//     recognises ordinary mail by its Subject.
//  2. parse reads the header, within the bounds of rule 2.
//  3. findPool looks for orders that wait at the addresses in To. If it finds none, the
//     message is not ours, and the DNS was not asked.
//  4. exam.go makes its checks, cheap ones first. The first that fails gives the reason of
//     the verdict: refused, or later if it could not be made now. If the client has not read
//     its token yet, the exam waits up to 10 s for it.
//  5. genuine.go verifies the signature: an Authentication-Results of a host that the admin
//     trusts, S/MIME or DKIM. The signature covers some fields, and later checks believe only
//     those.
//  6. reply.go builds the reply, sign.go signs it if there is a key for its domain, and the
//     responder claims the challenge in the state directory.
//  7. The responder submits the reply. Before the final dot it makes the claim "sending", and
//     after it what the server said: sent, failed, unknown, or given back.
//  8. The verdict returns to the mail server, with one reason for the log. The message itself
//     is delivered whatever the verdict.
//
// # Threat model
//
// Strangers write the whole message and envelope, replay what a CA has signed, add, double
// and reorder fields on the way, run domains and their DNS, and order certificates for other
// people's addresses at the same CA. They neither hold the CA's keys nor write its DNS. The
// CA itself may be careless but does not want other people's mail: it can cause no more than
// one reply, to itself. The rules follow, each with the tests that hold it; names with a star
// are files of testdata/golden:
//
//  1. Ordinary mail, and challenges nobody waits for, cost no look-up and leave no
//     trace. TestNoneCostsNoLookup, BenchmarkOrdinary, *-nobody-waits, *-unknown, *-expired.
//  2. The cost of one message is bounded: 64 KiB and 200 fields of header, 1 MiB of message,
//     10 addresses in To, 5 signatures with 200 names each, 2 MiB of body hashed, and never
//     more than 8 look-ups in the DNS, each with a bounded number of questions (package
//     resolve). The SMTP server's answer to the reply is bounded in time and bytes (package
//     submit). TestHostileCost, BenchmarkHostile, TestGolden (look-ups of each case).
//  3. A field that may occur once does occur once. DKIM signs the bottom one of two and
//     people read the top one. *-added-above, *-added-below, *-twice.
//  4. The challenge belongs to a known order: From is the sender that the CA announced, To is
//     one mailbox, and exactly one record fits. Only To says whose challenge it is: a
//     stranger writes the envelope, and if he submits a genuine challenge for himself with
//     our address at RCPT, it is still his. 2*-from-*, 2*-to-*, 2*-alias*, 6*-two-cas*.
//  5. A signature of From's own domain or mailbox covers From, To and Subject, over the whole
//     body, with a valid key; the exam believes any other field only if it is covered too.
//     *-h-*, 4*, 5*, 9*-from-*; TestForeignSigners.
//  6. The reply goes to From, or to a covered Reply-To in From's domain: a reply
//     that leaves the CA's domain is a reply to somebody else. *-reply-to-*.
//  7. An old challenge does not pass for a new one: the exam looks at Date, t= and x=.
//     *-date-*, 4*-t-*, 4*-x-*.
//  8. One challenge is answered once, by whatever number of processes, and a reply that may
//     have left is not sent again. A copy of the answered challenge, by its token-part1,
//     counts as answered. Another challenge for that order does not, since a mail that nobody
//     has answered may not be discarded. TestAnotherChallenge,
//     TestAnotherChallengeAfterTrouble, TestAnotherChallengeAtOnce, TestAnswerOnce,
//     TestAnswerSMTPTrouble, TestGolden (second delivery of each case), and the tests of
//     package state.
//  9. When in doubt, postseal does not answer. A question that has no answer now leads to
//     later, not refused; a message that can never be right is refused, not later.
//     *-servfail, *-timeout, 5*-refused, *-temporary-*, *-part2-*; TestResolver.
//  10. The reply takes from the message only the token, which has an alphabet, the
//     Message-ID, which has a form, and addresses that need no quotes. FuzzReply, TestRecordAddressIsNoInjection, *-token-*, *-message-id-*.
//  11. One reading. Where our reader and the library's could differ, or a reader that knows
//     comments and one that does not, the exam refuses the message. A header line with white
//     space before its colon is the field that it names; a line that is not a field is
//     refused, since Postfix ends the header there and others read on. The line of an mbox
//     file is not a field: package pipe cuts it off stdin. No letter or space of Unicode
//     counts as one of ASCII, whatever Unicode folds. FuzzTags, FuzzSubject, FuzzFields,
//     TestAuthservIDIsASCII, TestFoldedIntoASCII, *-encoded-*, *-injection, *-mbox-*,
//     *-header-*.
//  12. Less than a signature counts only if the admin has said so for that CA, and then only
//     in that point. 8*.
//  13. The mail half can reach no key and no password of the issuing half, only a token and a
//     thumbprint. TestImports of package layout.
//  14. A reason is one printable line, whatever the message contains. TestGolden, of each
//     case; FuzzAnswer.
//  15. The number of replies an hour is bounded, to one CA and in all, over all processes:
//     whoever steals the key of a CA cannot use us as a mailer. TestRate, TestRateAtOnce.
//
// The remaining risk: if a stranger orders a certificate for somebody's address at the same
// CA at the same time, the CA sends a genuine challenge there, whose answer uses up the
// order's one answer. The order then fails; nobody gets a certificate.
package challenge
