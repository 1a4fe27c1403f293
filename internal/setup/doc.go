// Package setup prepares a machine for postseal: it looks which mail servers are
// there, says what has to be done, and does what is postseal's own business.
//
// It writes the configuration file, makes the user and group of the mail half, the
// state directory, the directory of the milter's socket where systemd does not, and those files of the
// recipe that belong to postseal (helper scripts and units), each only where it is
// missing: what is there stays as it is. It never writes into a file of the mail
// server; what belongs there is shown, in the words of contrib/, which are embedded
// in the program.
//
//	Find     looks at a machine: nothing is run and nothing changed
//	Plan     says what there is to do about it, in steps that know whether they are
//	         done already, and what is left to the admin
//	Step.Do  does one step
//
// Find and Plan take a root directory, so that they can be tried on trees that are
// no machine. Steps are done on this one.
package setup
