package testca

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"net/textproto"
	"strings"
	"sync"

	"github.com/emersion/go-msgauth/dkim"
)

// Header fields a challenge mail's signature must cover, present or not, and
// those it should (RFC 8823, Section 3.1, item 6).
var (
	requiredInChallenge = []string{
		"From", "Sender", "Reply-To", "To", "CC", "Subject", "Date", "In-Reply-To",
		"References", "Message-ID", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding",
	}
	advisedInChallenge = []string{
		"Resent-Date", "Resent-From", "Resent-To", "Resent-Cc", "List-Id", "List-Help",
		"List-Unsubscribe", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
		"List-Unsubscribe-Post",
	}
)

// dkimSelector names the key below _domainkey.
const dkimSelector = "acme"

// dkimKeys are shared by all CAs of a process, for making one takes longer
// than all else at the start; DNS is what tells CAs apart.
var dkimKeys struct {
	sync.Mutex
	bySize map[int]crypto.Signer
}

// dkimKey returns an RSA key of so many bits, or an Ed25519 key for 0.
func dkimKey(bits int) (crypto.Signer, error) {
	dkimKeys.Lock()
	defer dkimKeys.Unlock()
	if k := dkimKeys.bySize[bits]; k != nil {
		return k, nil
	}
	k, err := generateDKIMKey(bits)
	if err != nil {
		return nil, err
	}
	if dkimKeys.bySize == nil {
		dkimKeys.bySize = map[int]crypto.Signer{}
	}
	dkimKeys.bySize[bits] = k
	return k, nil
}

func generateDKIMKey(bits int) (crypto.Signer, error) {
	if bits == 0 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

// setUpDKIM makes the key and publishes it.
func (ca *CA) setUpDKIM() error {
	bits := ca.cfg.DKIMBits
	if ca.cfg.DKIMEd25519 {
		bits = 0
	}
	key, err := dkimKey(bits)
	if err != nil {
		return err
	}
	ca.dkimKey = key
	record, err := dkimRecord(key.Public(), ca.cfg.DKIMTesting)
	if err != nil {
		return err
	}
	ca.SetTXT(dkimSelector+"._domainkey."+ca.dkimDomain(), record)
	return nil
}

// dkimRecord is the key record of RFC 6376, Section 3.6.1, or RFC 8463.
func dkimRecord(pub crypto.PublicKey, testing bool) (string, error) {
	record := "v=DKIM1; "
	if testing {
		record += "t=y; "
	}
	if key, ok := pub.(ed25519.PublicKey); ok {
		return record + "k=ed25519; p=" + base64.StdEncoding.EncodeToString(key), nil
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	return record + "k=rsa; p=" + base64.StdEncoding.EncodeToString(der), err
}

// dkimDomain is the d= of signatures: the From domain, as RFC 8823 wants it,
// or its parent.
func (ca *CA) dkimDomain() string {
	domain := asciiDomain(ca.cfg.Domain)
	if ca.cfg.ParentDomain {
		if _, parent, ok := strings.Cut(domain, "."); ok {
			return parent
		}
	}
	return domain
}

func (ca *CA) signDKIM(msg []byte) ([]byte, error) {
	keys := append(append([]string{}, requiredInChallenge...), advisedInChallenge...)
	if ca.cfg.PresentHeaders {
		keys = presentFields(msg)
	}
	var out bytes.Buffer
	err := dkim.Sign(&out, bytes.NewReader(msg), &dkim.SignOptions{
		Domain: ca.dkimDomain(), Selector: dkimSelector, Signer: ca.dkimKey, HeaderKeys: keys,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed,
		BodyCanonicalization:   dkim.CanonicalizationRelaxed,
	})
	return out.Bytes(), err
}

// presentFields lists the header fields of a message.
func presentFields(msg []byte) []string {
	m, err := parseEntity(msg)
	if err != nil {
		return []string{"From"}
	}
	var names []string
	for _, f := range m.fields {
		names = append(names, textproto.CanonicalMIMEHeaderKey(f.name))
	}
	return names
}
