// Package completion writes the scripts by which bash, zsh and fish complete the
// command line of a program. They are made from kong's model, so they know every
// command and flag that there is, and they need no program at run time.
//
// All three scripts work the same way: they go through the words before the
// cursor, leave out the values of flags, and so know which command is being
// written. Then they offer the values of the flag before the cursor, or else the
// command's own commands and flags.
package completion
