package failure

// Advice, in words that belong to no program. A program that has commands and flags for it
// uses those instead; see hints.go of cmd/postseal.
const (
	// The CA and the account.
	AgreeToTerms  = "read them, then agree to them"
	BindAccount   = "get a key from the CA and bind the account to it"
	CheckBinding  = "the key and its identifier must be those that the CA issued, and not used before"
	OtherContact  = "give another contact"
	ForgetAccount = "deactivate the account, then order again"
	ShowAccount   = "look at the account"
	OtherProfile  = "give a profile that the CA has, or none"
	CheckServer   = "check the URL of the CA's directory"
	CheckNetwork  = "check the URL of the CA's directory, the network, and the proxy"
	TrustRoot     = "if this is your own CA, give its root"

	// The certificate.
	OtherKind      = "the CA's profile may not allow this key type or usage; order again with another"
	OtherRequest   = "the CA refused the request itself: try another key type or usage, or the workaround for certbot"
	TryCertbot     = "the CA may be built around certbot: try the workaround for that"
	NewKey         = "order with a new key"
	RevokeAgain    = "when that has ended, revoke it again, so that it is not renewed"
	RevokeOldKey   = "use a new key; if the old one was compromised, revoke its certificate"
	Force          = "force it"
	ReplaceOrKeep  = "force it to replace that one, or order another kind to keep both"
	BackInSource   = "put it back into the source; the next enrollment takes it up again"
	DescribeKind   = "describe it in the configuration, or say what it is"
	OrderOne       = "order one"
	EmptyPass      = "ask for no passphrase if it is to be empty"
	GivePass       = "give the passphrase"
	OtherReason    = "give another reason, or none"
	ExportFormer   = "export the earlier keys, too, for one that is revoked or expired"
	SignByKey      = "another account ordered it: sign with the certificate's key"
	SignByAccount  = "sign with the account that ordered it: give the certificate alone, without its key"
	NameKeyOrCA    = "give the certificate's key, or the CA"
	ResumeOrCancel = "resume or cancel that order if nobody works on it"
	WaitOrSee      = "let it end, or see what it waits for in the status"
	SeeStatus      = "see what there is in the status"
	SeeWhatCame    = "no reply was sent from here: the status and the mail server's log say what came"
	CheckReason    = "look for the reason; the next run goes on all the same"
	CheckDNS       = "the CA could not look up the domain: check its DNS"
	CheckSignature = "the reply left without a good DKIM signature of its domain: check that"

	// The challenge.
	TriggerReply  = "this CA looks for the reply as soon as it is told to: order again and tell it after the reply"
	TriggerPost   = "look into the mail server's log; some CAs mail only after they are told to look"
	JoinBytes     = "if the reply did reach the CA with a good DKIM signature, order again with the tokens joined as bytes"
	JoinString    = "if the reply did reach the CA with a good DKIM signature, order again with the tokens joined as strings"
	AnswerByHand  = "if the CA sent it: put that right and give the mail to the mail half again, or answer it yourself"
	CheckMailHalf = "see whether the mail half runs with the same state and the mail server asks it"

	// The state directory.
	OtherState    = "give a state directory that this user can write"
	MountState    = "mount it read-write, or give another state directory"
	NewerPostseal = "install that postseal again, or give another state directory"
	FewerOrders   = "allow more open files, or fewer orders at a time"
	StartStore    = "start it or put right what it says, then try again"
	CheckStore    = "check the store"
)
