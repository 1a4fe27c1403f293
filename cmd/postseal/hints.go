package main

import (
	"cmp"

	"postseal/internal/failure"
	"postseal/issuer/enroll"
)

// inFlags is what to type for the advice of packages that know no flags.
var inFlags = map[string]string{
	failure.AgreeToTerms:  "read them, then order once with --agree-tos (cert, enroll)",
	failure.BindAccount:   "get a key from the CA and give it with --eab-kid and --eab-hmac-key-file",
	failure.CheckBinding:  "--eab-kid and the key in --eab-hmac-key-file must be those that the CA issued, and not used before",
	failure.OtherContact:  "give another --contact",
	failure.ForgetAccount: "set this account aside with: postseal account deactivate; then order again",
	failure.ShowAccount:   `"postseal account show" shows the state of the account`,
	failure.OtherProfile:  `"postseal account show" lists the profiles of the CA; give one of them, or none, with --profile`,
	failure.CheckServer:   "check --server",
	failure.CheckNetwork:  "check --server, the network, and HTTPS_PROXY",
	failure.TrustRoot:     "if this is your own CA, give its root with --ca-bundle FILE",

	failure.OtherKind:      "the CA's profile may not allow this --key-type or --usage; order again with another",
	failure.OtherRequest:   "the CA refused the request itself: try another --key-type or --usage, or --compat certbot",
	failure.TryCertbot:     "a CA that is built around certbot may take --compat certbot",
	failure.NewKey:         "order with a new key: leave --key-path and --reuse-key out",
	failure.RevokeAgain:    "when that has ended, run the same command again, so that the certificate is not renewed",
	failure.RevokeOldKey:   "use a new key; if the old one was compromised: postseal revoke --cert-path FILE --reason keycompromise",
	failure.Force:          "use --force to order all the same",
	failure.ReplaceOrKeep:  "--force replaces that one; --kind K keeps both, each renewed by itself",
	failure.DescribeKind:   "add [kind.K] to the configuration file (postseal.toml(5)), or say what it is with --usage, --key-type, --profile or --server",
	enroll.AcceptGone:      `nothing of this table was changed: put its source right, or accept what is missing, once, with "postseal enroll --accept-gone"`,
	failure.BackInSource:   `put it back into the source; the next "postseal enroll" takes it up again`,
	failure.OrderOne:       "order one with: postseal cert -e ADDR",
	failure.EmptyPass:      "use --no-passphrase for an empty one",
	failure.GivePass:       "give it with --passphrase-file",
	failure.ExportFormer:   `"postseal status" shows what there is; --former exports keys of certificates that are revoked or expired, too`,
	failure.OtherReason:    "give another --reason, or none",
	failure.SignByKey:      "another account ordered it: sign with the certificate's key, --key-path FILE",
	failure.SignByAccount:  "sign with the account that ordered it: give the certificate alone, as PEM, without --key-path",
	failure.NameKeyOrCA:    "give the certificate's key with --key-path, or the CA with --server",
	failure.ResumeOrCancel: `if nobody works on that order, resume it with its own command, or give it up with "postseal cancel"; "postseal status" shows it`,
	failure.WaitOrSee:      "let it end, or see what it waits for with: postseal status",
	failure.SeeStatus:      "see what there is with: postseal status",
	failure.SeeWhatCame:    `no reply was sent from here: "postseal status" and the mail server's log say what came`,
	failure.CheckReason:    `"postseal check" looks for the reason; the next run goes on all the same`,
	failure.CheckDNS:       `the CA could not look up the domain: "postseal check -e ADDR" looks at its DNS`,
	failure.CheckSignature: `the reply left without a good DKIM signature of its domain: "postseal check -e ADDR" looks at it`,

	failure.TriggerReply:  "this CA looks for the reply as soon as it is told to: order again with --trigger reply",
	failure.TriggerPost:   "look into the mail server's log; some CAs mail only after --trigger post",
	failure.JoinBytes:     "if the reply did reach the CA with a good DKIM signature, order again with --token-join bytes",
	failure.JoinString:    "if the reply did reach the CA with a good DKIM signature, order again with --token-join string",
	failure.AnswerByHand:  "if the CA sent it: put that right and run postseal-pipe < MAIL, or answer it yourself with --interactive",
	failure.CheckMailHalf: `see whether postseal-milter runs with the same --state and the mail server asks it; "postseal check" looks at both`,

	failure.OtherState:    "give a directory with --state DIR that this user can write",
	failure.MountState:    "mount it read-write, or give another directory with --state DIR",
	failure.NewerPostseal: "install that postseal again, or give another directory with --state DIR",
	failure.FewerOrders:   "allow more open files (ulimit -n), or give a smaller --jobs",
	failure.StartStore:    `start it or put right what it says, then run the same command again; "postseal check" looks at it`,
	failure.CheckStore:    `"postseal check" looks at it`,
}

// typed returns a hint in the words of the flags.
func typed(hint string) string { return cmp.Or(inFlags[hint], hint) }

// hinted returns err with its hint in the words of the flags.
func hinted(err error) error {
	if hint := failure.HintOf(err); hint != "" {
		return failure.WithHint(err, typed(hint))
	}
	return err
}
