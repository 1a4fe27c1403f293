// Package contrib is the recipes in this directory, for "postseal init", which shows
// those for the mail server that it finds: the text that the tests of internal/test/recipes
// run is the text that an admin gets.
package contrib

import "embed"

// Recipes are the files that recipes are made of, by their path below contrib.
//
//go:embed courier dovecot exim lib maildrop opensmtpd postfix-milter postfix-opendkim postfix-pipe postfix-rspamd procmail sendmail sudoers.d systemd
var Recipes embed.FS
