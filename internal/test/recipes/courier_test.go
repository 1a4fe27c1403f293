//go:build doors

package recipes

import (
	"net"
	"regexp"
	"strings"
	"testing"
)

func TestCourier(t *testing.T) {
	onMachine(t, "courier", func(s *site) {
		s.systemWide()
		s.install("lib/before", "/usr/lib/postseal/before")
		s.add("courier/esmtpd", "/etc/courier/esmtpd")
		s.add("courier/courierd", "/etc/courier/courierd")
		s.install("courier/dot-courier", "/home/alice/.courier") // the others have none
		s.startCourier()
		pipeRow("", "courier/README.md", s.courierQueue()).run(s, "Courier")
	})
}

func (s *site) startCourier() {
	s.t.Helper()
	s.writeFile("/etc/courier/locals", "localhost\n"+domain+"\n", 0o644)
	s.writeFile("/etc/courier/esmtpacceptmailfor.dir/default", domain+"\n", 0o644)
	s.edit("/etc/courier/esmtpd", "PORT=smtp", "PORT=25\nADDRESS=127.0.0.1")
	// The CA's mail host is at an address of this machine, which Courier takes for itself.
	host, port, err := net.SplitHostPort(caSMTP)
	s.must(err)
	s.writeFile("/etc/courier/esmtproutes", s.ca.MailDomain+":["+host+"],"+port+"\n", 0o644)
	for _, user := range people {
		s.sh("runuser -u " + user + " -- maildirmake /home/" + user + "/Maildir")
	}
	s.sh("systemd-tmpfiles --create --prefix=/run/courier") // as at boot
	s.sh("makeacceptmailfor; makesmtpaccess; makealiases; authdaemond start; courierfilter start; courier start; esmtpd start")
	s.waitPort(smtpAddr)
}

// courierQueue reads the log for what mailq does not say: what was tried.
func (s *site) courierQueue() queue {
	ids := func() (all []string) {
		for line := range strings.Lines(s.sh("mailq -batch")) {
			if fields := strings.Split(line, ";"); len(fields) > 1 {
				all = append(all, fields[1])
			}
		}
		return all
	}
	return queue{
		length: func() int { return len(ids()) },
		deferred: func() (n int) {
			for _, id := range ids() {
				if regexp.MustCompile("id=" + id + ",.*status: deferred").MatchString(s.log.String()) {
					n++
				}
			}
			return n
		},
		flush: "courier flush",
	}
}
