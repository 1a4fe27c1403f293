// Package e2e runs the whole of postseal against a real mail server: the test CA
// sends its challenge to a Postfix over SMTP, the mail half sits in it as a milter,
// as a pipe(8) transport or behind procmail, and the reply leaves through the same
// Postfix. There is nothing in it but tests.
package e2e
