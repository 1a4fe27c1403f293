package mta

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mainCF returns the text of main.cf.
func (in *Instance) mainCF() string {
	lines := slices.Concat(in.basics(), in.delivery(), in.routing(), in.config.MainCF)
	return strings.Join(lastOfEach(lines), "\n") + "\n"
}

// basics keep an instance to its own directory, to loopback and out of DNS, and
// let it be quick.
func (in *Instance) basics() []string {
	return []string{
		"compatibility_level = 3.6",
		"queue_directory = " + in.QueueDir,
		"data_directory = " + filepath.Join(in.Dir, "data"),
		"meta_directory = " + in.ConfDir,
		"maillog_file = " + in.logFile(),
		"maillog_file_prefixes = " + in.Dir,
		"myhostname = mail." + in.config.Domain,
		"myorigin = " + in.config.Domain,
		"inet_interfaces = 127.0.0.1",
		"inet_protocols = ipv4",
		"mynetworks = 127.0.0.0/8",
		"disable_dns_lookups = yes",
		"smtp_host_lookup = native",
		"smtpd_peername_lookup = no",
		"smtputf8_enable = yes",
		"alias_maps =",
		"alias_database =",
		"local_recipient_maps =",
		"biff = no",
		"in_flow_delay = 0",
		"notify_classes =", // mail about our own tests to nobody's postmaster
	}
}

// delivery says what happens to mail for our domain.
func (in *Instance) delivery() []string {
	if command := in.config.MailboxCommand; command != "" {
		return []string{
			"mydestination = " + in.config.Domain,
			"mailbox_command = " + command,
		}
	}
	uid, gid, err := ids(mailUser)
	if err != nil {
		in.t.Fatal(err)
	}
	lines := []string{
		"mydestination =",
		"virtual_mailbox_domains = " + in.config.Domain,
		"virtual_mailbox_maps = texthash:" + in.conf("users"),
		"virtual_mailbox_base = " + in.mailDir(),
		fmt.Sprintf("virtual_uid_maps = static:%d", uid),
		fmt.Sprintf("virtual_gid_maps = static:%d", gid),
	}
	if in.config.Transport != "" {
		lines = append(lines, "virtual_transport = "+in.config.Transport)
	}
	return lines
}

// routing says what happens to mail for other domains.
func (in *Instance) routing() []string {
	lines := []string{"default_transport = error:5.1.2 this test has no relay"}
	if host, port, ok := strings.Cut(in.config.Relay, ":"); ok {
		lines = []string{fmt.Sprintf("relayhost = [%s]:%s", host, port)}
	}
	if in.config.Milters != "" {
		lines = append(lines, "smtpd_milters = "+in.config.Milters)
	}
	return lines
}

// lastOfEach drops settings that a later line makes again, which Postfix would
// do too, with a warning for each.
func lastOfEach(lines []string) []string {
	last := map[string]int{}
	for i, line := range lines {
		last[settingName(line)] = i
	}
	var kept []string
	for i, line := range lines {
		if last[settingName(line)] == i {
			kept = append(kept, line)
		}
	}
	return kept
}

func settingName(line string) string {
	name, _, _ := strings.Cut(line, "=")
	return strings.TrimSpace(name)
}

// services is the usual master.cf without the SMTP port and without transports to
// systems of the past. Nothing is chrooted: the files of a chroot are not there.
const services = `
pickup     unix       n  -  n  60     1  pickup
cleanup    unix       n  -  n  -      0  cleanup
qmgr       unix       n  -  n  300    1  qmgr
tlsmgr     unix       -  -  n  1000?  1  tlsmgr
rewrite    unix       -  -  n  -      -  trivial-rewrite
bounce     unix       -  -  n  -      0  bounce
defer      unix       -  -  n  -      0  bounce
trace      unix       -  -  n  -      0  bounce
verify     unix       -  -  n  -      1  verify
flush      unix       n  -  n  1000?  0  flush
proxymap   unix       -  -  n  -      -  proxymap
proxywrite unix       -  -  n  -      1  proxymap
smtp       unix       -  -  n  -      -  smtp
relay      unix       -  -  n  -      -  smtp
showq      unix       n  -  n  -      -  showq
error      unix       -  -  n  -      -  error
retry      unix       -  -  n  -      -  error
discard    unix       -  -  n  -      -  discard
local      unix       -  n  n  -      -  local
virtual    unix       -  n  n  -      -  virtual
lmtp       unix       -  -  n  -      -  lmtp
anvil      unix       -  -  n  -      1  anvil
scache     unix       -  -  n  -      1  scache
postlog    unix-dgram n  -  n  -      1  postlogd
`

// masterCF returns the text of master.cf, with the SMTP service at addr.
func (in *Instance) masterCF(addr string) string {
	return services + addr + " inet n - n - - smtpd\n" + strings.Join(in.config.MasterCF, "\n") + "\n"
}

// userTable maps the addresses of Users to Maildirs.
func (in *Instance) userTable() string {
	var b strings.Builder
	for _, name := range in.config.Users {
		addr := in.address(name)
		fmt.Fprintf(&b, "%s %s/\n", addr, addr)
	}
	return b.String()
}

// copyTables copies the tables that Postfix wants beside its configuration.
func copyTables(conf string) error {
	for _, name := range []string{"dynamicmaps.cf", "postfix-files"} {
		data, err := os.ReadFile(filepath.Join("/etc/postfix", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(conf, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// mkdirFor makes a directory that belongs to a user of the system.
func mkdirFor(name, dir string) error {
	uid, gid, err := ids(name)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}

// ids returns the numbers of a user of the system.
func ids(name string) (uid, gid int, err error) {
	account, err := user.Lookup(name)
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(account.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(account.Gid)
	return uid, gid, err
}
