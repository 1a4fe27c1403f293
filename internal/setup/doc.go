// Package setup prepares a machine for postseal: it looks which mail servers are
// there, says what has to be done, and does what is postseal's own business.
//
// It writes the configuration file, the files of the recipe that belong to postseal
// (helper scripts and units), and makes the user and group of the mail half, the state
// directory and, without systemd, the directory of the milter's socket. What is there
// stays as it is. It never writes into a file of the mail server: it shows what belongs
// there, in the words of contrib/, which are embedded in the program.
//
//	Find     looks at a machine: it runs and changes nothing
//	Plan     says what there is to do, in steps that know whether they are done
//	         already, and what is left to the admin
//	Step.Do  does one step
//
// Servers is the table of mail servers and their recipes; a new one is a new row.
// Find and Plan take a root directory, so that tests can try them on trees of files.
// Steps are done on this machine.
package setup
