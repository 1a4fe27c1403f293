// Package p12clients has the containers of package issuer read by the programs that
// people use: OpenSSL, NSS (Thunderbird's library), Java's keytool and GnuPG's
// gpgsm. What they read they have to sign, verify, encrypt and decrypt a message
// with, since a container that imports and then cannot be used is no better than
// one that does not import. The hooks of contrib/hooks are run here too, by postseal
// itself, against the servers and readers they are for.
//
// There is nothing in it but tests. They need the Debian packages of .ci/packages
// and fail without them.
package p12clients
