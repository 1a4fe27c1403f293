package challenge

import (
	"bytes"
	"crypto"
	"slices"

	"github.com/emersion/go-msgauth/dkim"

	"postseal/state"
)

// Key is a DKIM key with which postseal itself signs the replies of one domain.
type Key struct {
	Domain   string
	Selector string
	Signer   crypto.Signer
}

// MustSign is what the signature of a response must cover (RFC 8823, Section 3.2, item 9). It
// includes absent fields, so that nobody can add one on the way.
var MustSign = []string{
	"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "In-Reply-To", "References",
	"Message-ID", "Content-Type", "Content-Transfer-Encoding",
}

// ReplyFields are the fields that our signature of a response covers: those that it must,
// those that it should, and MIME-Version.
var ReplyFields = slices.Concat(MustSign, []string{
	"MIME-Version", "Resent-Date", "Resent-From", "Resent-To", "Resent-Cc",
	"List-Id", "List-Help", "List-Unsubscribe", "List-Subscribe", "List-Post", "List-Owner",
	"List-Archive", "List-Unsubscribe-Post",
})

// sign puts our DKIM signature above a reply if there is a key for its domain. Otherwise the
// mail server has to sign.
func sign(raw []byte, from string, keys []Key) ([]byte, error) {
	for _, k := range keys {
		if state.Domain(k.Domain) != domainOf(from) {
			continue
		}
		var signed bytes.Buffer
		err := dkim.Sign(&signed, bytes.NewReader(raw), &dkim.SignOptions{
			Domain:                 state.Domain(k.Domain),
			Selector:               k.Selector,
			Signer:                 k.Signer,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed,
			BodyCanonicalization:   dkim.CanonicalizationRelaxed,
			HeaderKeys:             ReplyFields,
		})
		return signed.Bytes(), err
	}
	return raw, nil
}
