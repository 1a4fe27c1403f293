// Package check looks at everything that has to be right before a challenge can be
// answered: the configuration, the state directory, Postfix, the milter, the SMTP
// server, the CA, the DNS and the clock. It is what an admin runs before asking for
// help, so each finding says what was looked at and each bad one what to do.
//
// Nothing is changed, and no mail is sent unless that is asked for. The checks do
// not depend on each other: each runs by itself, has its own time, and says what it
// can when another one has failed.
//
// It speaks the milter protocol, SMTP and DNS in the few packets that it needs. The
// libraries for them belong to the half that reads mail, which the half with the
// keys does not link.
package check
