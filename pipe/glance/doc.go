// Package glance lets postseal-pipe end before it begins: a mail server that has it
// look at each message starts a process for each, and most of what that costs is
// Go setting up the packages that a challenge needs, from TLS to TOML.
//
// Its init function looks at the header of the message on stdin, and if that is
// ordinary mail beyond doubt, reads the rest and ends the process with status 0. Go
// initialises packages in the order of their import paths as soon as what they
// import is ready (see the language specification and go.dev/issue/57411); this one
// imports nothing but syscall, so nearly everything else comes after it. Should
// that order ever change, postseal-pipe is slower and does the same.
//
// It never decides anything but "ordinary". In any doubt, which includes every
// Subject that could be a challenge's, every flag and every line of the
// configuration file that it does not know, and every POSTSEAL_ variable, the
// program goes on as if nothing had happened, with the bytes that were read in Read.
//
// Only cmd/postseal-pipe may import it: the process is that program's.
package glance
