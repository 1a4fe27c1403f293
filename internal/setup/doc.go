// Package setup prepares a machine for postseal: it finds the mail servers, says what to do,
// and does postseal's own part.
//
// It writes the configuration file and the recipe's files that belong to postseal (helper
// scripts and units), and makes the user and group of the mail half, the state directory and,
// without systemd, the directory of the milter's socket. Existing files stay as they are. It
// never writes into a file of the mail server: it shows the lines that belong there, in the
// words of contrib/, which the program embeds.
//
//	Find     looks at a machine: it runs and changes nothing
//	Plan     says what there is to do, in steps that know whether they are done
//	         already, and what is left to the admin
//	Step.Do  does one step
//
// Servers is the table of mail servers and their recipes, for all the mail of a machine, and
// Own that for one user's own; a new server is a new row. Find and Plan take a root directory,
// so that tests can try them on trees of files. Steps change this machine.
package setup
