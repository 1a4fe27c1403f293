// Package smime answers one question about a mail: has the owner of its From address signed
// the whole of it?
//
// RFC 8823, Section 3.1, lets a CA sign its challenge mails with S/MIME instead of DKIM, if
// the signature covers the header too. A signature that covers only the body says nothing
// about Subject, and the Subject of a challenge is all we act on. So Verify returns the
// header fields of the signed part and the mailboxes of the signer; the caller requires that
// the fields equal those of the outer header and that the mailboxes include From. The rules:
//
//  1. Size. At most 1 MiB; each header block at most 64 KiB and 200 fields; the certificates
//     and the SignerInfo at most 64 KiB each. Nothing recurses, and no more than five
//     certificates of a message are used.
//  2. Form. multipart/signed with exactly two parts (RFC 1847, RFC 8551, Section 3.5.3), or
//     application/pkcs7-mime with signed-data (Section 3.5.2), as the outermost entity of the
//     message. Encrypted, compressed and certs-only messages are refused, and so is S/MIME or
//     PGP/MIME inside: a second layer vouches for something else.
//  3. Boundaries. A delimiter is a whole line: two hyphens, the boundary, white space (RFC
//     2046, Section 5.1.1). That section lets readers accept any line that starts so; writers
//     nest boundaries that extend each other, so we do not. Preamble and epilogue are
//     ignored, except that a delimiter in the epilogue is an error.
//  4. Encoding. Content-Transfer-Encoding is base64, 7bit, 8bit or binary;
//     base64 has its padding and no foreign characters.
//  5. CMS. One SignedData with one SignerInfo and nothing after it. Content of
//     type data: absent in a multipart/signed message, present in an opaque one.
//     Lengths are DER, or indefinite around the parts that RFC 5652 lets be BER
//     (Bouncy Castle and Outlook write those); the SignerInfo is DER.
//  6. Signed attributes are required, with one content-type (data) and one
//     message-digest. Signing-time is ignored: it is the signer's own word.
//  7. Algorithms. SHA-256, SHA-384 or SHA-512; RSA (PKCS #1 v1.5 or PSS, its salt of any length) of 2048
//     to 4096 bits (RFC 8551, Section 4.3), ECDSA on P-256, P-384 or P-521,
//     Ed25519 (Section 2.2). The same goes for each certificate of the chain,
//     except for the signature in the root's own certificate.
//  8. Chain. From the signer over at most four certificates of the message to a root of ours,
//     at the time of receipt, with the checks of crypto/x509: names, validity, basic
//     constraints, name constraints, critical extensions. An extended key usage in the
//     signer's certificate must include emailProtection or anyExtendedKeyUsage (RFC 8550,
//     Section 4.4.4), and those above must not exclude mail. Name constraints for rfc822Name
//     also hold for SmtpUTF8Mailbox (RFC 9598, Section 6). Revocation is not looked up:
//     nothing here may use the network.
//  9. Signer. Not a CA; key usage, if present, digitalSignature or
//     contentCommitment (RFC 8550, Section 4.4.2); at least one rfc822Name or
//     SmtpUTF8Mailbox. The emailAddress of a subject name does not count.
//  10. Header protection. Either the signed part is message/rfc822 or
//     message/global and the header inside is the protected one (RFC 8551,
//     Section 3.1), or its Content-Type has hp="clear" and its own header is
//     (RFC 9788). hp="cipher" claims an encryption that is not there and is
//     refused. protected-headers="v1" alone is not header protection: it comes
//     from a draft that RFC 9788 replaced, and says neither that all fields are
//     covered nor that a reader may rely on it. Beside hp="clear" it is ignored,
//     because Thunderbird writes both.
//  11. From, To and Subject occur exactly once in the protected header.
//
// This package reads CMS itself and not with github.com/smallstep/pkcs7, with which the tests
// write it: 160 bytes keep that library's BER reader busy for days, it trusts the signer's
// clock, and each rule above that it does not know would need a second reading of the same
// bytes anyway. Two readings can differ; one cannot.
package smime
