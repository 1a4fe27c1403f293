package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"postseal/internal/cli"
	"postseal/internal/printable"
	"postseal/issuer"
	"postseal/issuer/store"
	"postseal/state"
)

// certLeft is the state, in metrics alone, of a certificate that no run renews any more. The
// table for people has the reason in another column.
const certLeft = "left"

// writeMetrics writes a status in Prometheus's text format, for a textfile collector. kinds
// and domains are those of the configuration. Labels hold no address: there may be 100,000,
// and readers of metrics need not know them.
func writeMetrics(out io.Writer, s *issuer.Status, kinds, domains []string) {
	kinds = kindsIn(s, kinds)
	writeCertificates(out, s, kinds)
	writeOrders(out, s, kinds)
	writeEnroll(out, s, domains)
	writeRuns(out, s, len(domains) > 0)
}

// domainsOf returns the domains of the [[enroll]] tables, in the form of enroll's memory.
func domainsOf(file *cli.File) (domains []string) {
	for _, t := range file.Enroll {
		domains = append(domains, state.Domain(strings.TrimSpace(t.Domain)))
	}
	return domains
}

// kindsIn returns the kinds in a status and in the configuration; without any, the empty one.
func kindsIn(s *issuer.Status, kinds []string) []string {
	for _, c := range s.Certificates {
		kinds = append(kinds, c.Kind)
	}
	for _, o := range s.Orders {
		kinds = append(kinds, o.Kind)
	}
	for _, f := range s.Failed {
		kinds = append(kinds, f.Kind)
	}
	if len(kinds) == 0 {
		return []string{""}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

func writeCertificates(out io.Writer, s *issuer.Status, kinds []string) {
	number, expiry, issued := samples{}, samples{}, samples{}
	for _, kind := range kinds {
		for _, is := range []string{issuer.CertValid, issuer.CertDue, issuer.CertExpired, issuer.CertRevoked, certLeft} {
			number[labels("kind", kind, "state", is)] = 0
		}
	}
	for _, c := range s.Certificates {
		if isLeft(c) {
			c.State = certLeft
		}
		ofState := labels("kind", c.Kind, "state", c.State)
		number[ofState]++
		if isRenewed(c) {
			expiry.earliest(ofState, c.NotAfter)
		}
		issued.latest(labels("kind", c.Kind), c.Issued)
	}
	number.write(out, "certificates", "Number of certificates by state; the addresses of those with state left have left.")
	expiry.write(out, "first_expiry_timestamp_seconds", "End of the first certificate to expire of those that are renewed.")
	issued.write(out, "last_issued_timestamp_seconds", "When the latest of these certificates was issued.")
}

func isLeft(c issuer.CertStatus) bool { return c.Left != "" && c.State != issuer.CertRevoked }

func isRenewed(c issuer.CertStatus) bool { return c.Left == "" && c.State != issuer.CertRevoked }

func writeOrders(out io.Writer, s *issuer.Status, kinds []string) {
	orders, failed, since := samples{}, samples{}, samples{}
	for _, kind := range kinds {
		orders[labels("kind", kind)], failed[labels("kind", kind)] = 0, 0
	}
	for _, o := range s.Orders {
		orders[labels("kind", o.Kind)]++
	}
	renewed := map[string]bool{}
	for _, c := range s.Certificates {
		renewed[c.Name] = isRenewed(c)
	}
	for _, f := range s.Failed {
		failed[labels("kind", f.Kind)]++
		if renewed[f.Name] {
			since.earliest(labels("kind", f.Kind), f.Since)
		}
	}
	orders.write(out, "orders", "Orders in flight.")
	failed.write(out, "failed", "Sets of addresses whose last order failed.")
	since.write(out, "failing_since_timestamp_seconds", "First failure of the renewal that has failed for longest.")
	samples{"": int64(len(s.Pending))}.write(out, "challenges_pending", "Challenges that are waited for.")
}

// writeEnroll writes what enroll remembers of each configured [[enroll]] table. It leaves out
// a former table, which has no source any more.
func writeEnroll(out io.Writer, s *issuer.Status, domains []string) {
	accepted, addresses, gone, left, without, since := samples{}, samples{}, samples{}, samples{}, samples{}, samples{}
	for _, domain := range domains {
		of := labels("domain", domain)
		accepted[of], addresses[of], gone[of], left[of], without[of] = 0, 0, 0, 0, 0
	}
	for _, e := range s.Enroll {
		of := labels("domain", e.Domain)
		if _, configured := accepted[of]; !configured {
			continue
		}
		accepted[of] = int64(e.Accepted)
		addresses[of], gone[of], left[of] = int64(e.Addresses), int64(e.Gone), int64(e.Left)
	}
	counted := map[string]bool{}
	for _, w := range s.Without {
		of := labels("domain", w.Domain)
		if _, configured := accepted[of]; !configured || counted[w.Email] {
			continue // it lacks a second kind
		}
		counted[w.Email] = true
		without[of]++
		if w.Since != 0 {
			since.earliest(of, w.Since.Time())
		}
	}
	accepted.write(out, "enroll_accepted_timestamp_seconds", "When the source of the table was last accepted; 0 if never.")
	addresses.write(out, "enroll_addresses", "Addresses in the source.")
	without.write(out, "enroll_without", "Those of them without a certificate of some kind of the table.")
	since.write(out, "enroll_without_since_timestamp_seconds", "Since when the first of those waits.")
	gone.write(out, "enroll_gone", "Addresses that are no longer in the source, within the grace or kept.")
	left.write(out, "enroll_left", "Addresses that are no longer renewed.")
}

// writeRuns writes when the last run of each command that a timer starts ended. A missing run
// counts as one at 0 if there is work for it.
func writeRuns(out io.Writer, s *issuer.Status, enrolls bool) {
	ended, status := samples{}, samples{}
	if len(s.Certificates) > 0 {
		ended[labels("command", store.RunRenew)] = 0
	}
	if enrolls {
		ended[labels("command", store.RunEnroll)] = 0
	}
	for _, r := range s.Runs {
		of := labels("command", r.Command)
		ended[of], status[of] = r.Ended.Unix(), int64(r.Status)
	}
	ended.write(out, "run_end_timestamp_seconds", "When the last run for all addresses ended; 0 if never.")
	status.write(out, "run_exit_status", "Its exit status.")
}

// samples are the values of a gauge, by their labels.
type samples map[string]int64

func (s samples) earliest(of string, t time.Time) {
	if old, ok := s[of]; !ok || t.Unix() < old {
		s[of] = t.Unix()
	}
}

func (s samples) latest(of string, t time.Time) { s[of] = max(s[of], t.Unix()) }

// write writes a gauge, and nothing if it has no samples.
func (s samples) write(out io.Writer, name, help string) {
	if len(s) == 0 {
		return
	}
	name = "postseal_issuer_" + name
	fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
	for _, of := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(out, "%s%s %d\n", name, of, s[of])
	}
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// labels writes pairs of names and values. Foreign text in a value cannot end it.
func labels(pairs ...string) string {
	var all []string
	for pair := range slices.Chunk(pairs, 2) {
		all = append(all, pair[0]+`="`+labelEscapes.Replace(printable.Line(pair[1], maxCell))+`"`)
	}
	return "{" + strings.Join(all, ",") + "}"
}
