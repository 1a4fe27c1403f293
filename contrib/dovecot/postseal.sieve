# /etc/dovecot/sieve/postseal.sieve; then: sievec /etc/dovecot/sieve/postseal.sieve
#
# "execute :pipe" is a test, so what becomes of the mail does not hang on the program.
# LMTP has said 250 for a mail before it knows, and Dovecot has no queue: a challenge
# that could not be answered is filed with a keyword, and postseal-again answers it.
#
# Never plain "pipe": it takes the mail away from the user, and with ":try" loses it
# when the program fails.
require ["vnd.dovecot.execute", "imap4flags", "fileinto"];

if header :matches "Subject" "ACME:*" {
  if not execute :pipe "postseal" {
    fileinto :flags "$PostsealLater" "INBOX";
    stop;
  }
}
