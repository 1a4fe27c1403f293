// Package cli is what the programs of postseal have in common: how they read
// flags, environment and configuration file, and how they end.
//
// A value comes from the flag, else from the environment (POSTSEAL_ and the
// flag's name in capitals), else from the TOML file, else from the default. The
// file's keys are the flags' names, so one file serves all programs; a key that
// belongs to no program is an error, because a misspelt option that is silently
// ignored is found months later.
//
// A program ends with one line on stderr, "PROGRAM: error: …", a second one
// "PROGRAM: hint: …" where a next step is known, and an exit status of
// sysexits.h where mail servers read it.
package cli
