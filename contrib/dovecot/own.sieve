# A user's own script (~/.dovecot.sieve, or over ManageSieve), for one who runs "postseal
# cert" herself, with her own state directory. The admin has to allow it:
# 91-postseal-own.conf. A challenge that cannot be answered at once is forgotten: the mail
# is in the mailbox, for  postseal-pipe <mail.
require ["vnd.dovecot.pipe", "copy"];

if header :matches "Subject" "ACME:*" {
  pipe :copy :try "postseal-pipe";
}
