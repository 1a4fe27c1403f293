package cert

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"strings"

	"postseal/internal/failure"
	"postseal/internal/printable"
)

const keyHint = "use a file with an RSA key of 2048 bits or more, P-256 or P-384: PEM or DER, not encrypted"

// ReadKey reads a private key for a certificate: PKCS#8, PKCS#1 or SEC 1, in PEM or DER. Its
// error for another file names the file's type, with a command that converts it.
func ReadKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, failure.In("key-path", failure.Config("give a file with a private key", "%v", err))
	}
	key, err := ParseKey(bytes.TrimPrefix(data, []byte("\ufeff")))
	if err == nil {
		_, err = KeyTypeOf(key)
	}
	if errors.Is(err, errNoKey) {
		if what, hint := identify(data, path); what != "" {
			return nil, failure.In("key-path", failure.Usage(cmp.Or(hint, keyHint), "%q is %s", path, what))
		}
	}
	if err != nil {
		return nil, failure.In("key-path", failure.Usage(keyHint, "%q: %v", path, err))
	}
	return key, nil
}

const certHint = "give a certificate in PEM, DER or PKCS#12"

func badCert(err error) error { return failure.In("cert-path", err) }

// Read reads the certificate in a file, and its key if that is there, too. If the file is a
// container, it tries the passphrases in turn.
func Read(path string, passphrases []func() (string, error)) (*x509.Certificate, crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, badCert(failure.Config("give a certificate in PEM or PKCS#12", "%v", err))
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if chain, err := ParseChain(data); err == nil {
		key, err := ParseKey(data)
		if err != nil || !SamePublicKey(chain[0].PublicKey, key) {
			return chain[0], nil, nil
		}
		return chain[0], key, nil
	}
	if cert, err := x509.ParseCertificate(data); err == nil {
		return cert, nil, nil
	}
	if isContainer(data) {
		return open(path, data, passphrases)
	}
	if what, hint := identify(data, path); what != "" {
		return nil, nil, badCert(failure.Usage(cmp.Or(hint, certHint), "%q is %s", path, what))
	}
	return nil, nil, badCert(failure.Usage(certHint, "%q is not a certificate in PEM, DER or PKCS#12", path))
}

// open opens a container with the first passphrase that fits.
func open(path string, data []byte, passphrases []func() (string, error)) (*x509.Certificate, crypto.Signer, error) {
	for _, pass := range passphrases {
		word, err := pass()
		if err != nil {
			return nil, nil, err
		}
		leaf, key, err := openContainer(data, word)
		if err == nil {
			return leaf, key, nil
		}
		if !errors.Is(err, errPassphrase) {
			_, hint := identify(data, path)
			return nil, nil, badCert(failure.Usage(hint, "%q is a PKCS#12 container that cannot be read here: %v", path, err))
		}
	}
	return nil, nil, badCert(failure.Failed(failure.GivePass, "the passphrase does not open %q", path))
}

// identify names the type of a file that this package does not read, and a command that
// converts it; both are "" for an unknown one. name is the file's name.
func identify(data []byte, name string) (what, hint string) {
	name = printable.Word(name)
	block, _ := pem.Decode(data)
	var der struct {
		First asn1.RawValue
		Rest  asn1.RawValue `asn1:"optional"`
	}
	_, err := asn1.Unmarshal(data, &der)
	signedData := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2} // RFC 5652, Section 5.1
	switch {
	case block != nil:
		return identifyPEM(block, name)
	case bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")):
		return "text in UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 " + name + " >converted.pem"
	case bytes.HasPrefix(data, []byte{0xfe, 0xed, 0xfe, 0xed}) || bytes.HasPrefix(data, []byte{0xce, 0xce, 0xce, 0xce}):
		return "a Java keystore", "convert it: keytool -importkeystore -srckeystore " + name + " -destkeystore converted.p12 -deststoretype PKCS12"
	case isContainer(data):
		return "a PKCS#12 container", "convert it: openssl pkcs12 -in " + name + " -nodes -legacy -out converted.pem"
	case err == nil && bytes.Equal(der.First.Bytes, signedData):
		return "a PKCS#7 list of certificates", "convert it: openssl pkcs7 -inform DER -in " + name + " -print_certs -out converted.pem"
	case err == nil && der.First.Tag == asn1.TagSequence && der.Rest.Tag == asn1.TagOctetString:
		return "an encrypted key", "decrypt it: openssl pkey -inform DER -in " + name + " -out converted.pem"
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return "a certificate, and no key", ""
	}
	return "", ""
}

func identifyPEM(block *pem.Block, name string) (what, hint string) {
	switch kind := block.Type; {
	case kind == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return "an encrypted key", "decrypt it: openssl pkey -in " + name + " -out converted.pem"
	case kind == "OPENSSH PRIVATE KEY":
		return "a key of OpenSSH", "convert a copy: cp " + name + ` converted.pem && ssh-keygen -p -N "" -m PKCS8 -f converted.pem`
	case kind == "PKCS7":
		return "a PKCS#7 list of certificates", "convert it: openssl pkcs7 -in " + name + " -print_certs -out converted.pem"
	case kind == "CERTIFICATE":
		return "a certificate, and no key", ""
	default:
		return "a " + strings.ToLower(kind), ""
	}
}
