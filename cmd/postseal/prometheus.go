package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"postseal/internal/printable"
	"postseal/issuer"
)

// writeMetrics writes a status in Prometheus's text format, for a textfile collector.
func writeMetrics(out io.Writer, s *issuer.Status) {
	var expiry, renewal, failing []string
	states := map[string]int{issuer.CertValid: 0, issuer.CertDue: 0, issuer.CertExpired: 0, issuer.CertRevoked: 0}
	var issued time.Time
	for _, c := range s.Certificates {
		states[c.State]++
		if c.Issued.After(issued) {
			issued = c.Issued
		}
		if c.State != issuer.CertRevoked { // nobody has to renew it
			labels := labels("name", c.Name, "ca", host(c.Server))
			expiry = append(expiry, sample(labels, c.NotAfter.Unix()))
			renewal = append(renewal, sample(labels, c.RenewAt.Unix()))
		}
	}
	for _, f := range s.Failed {
		failing = append(failing, sample(labels("emails", strings.Join(f.Emails, " "), "ca", host(f.Server), "name", f.Name), f.Since.Unix()))
	}
	var counts, last []string
	for state, n := range states {
		counts = append(counts, sample(labels("state", state), int64(n)))
	}
	if !issued.IsZero() {
		last = []string{sample("", issued.Unix())}
	}
	single := func(n int) []string { return []string{sample("", int64(n))} }
	gauge(out, "certificate_expiry_timestamp_seconds", "End of a certificate that is not revoked.", expiry)
	gauge(out, "certificate_renewal_timestamp_seconds", "When it is due for renewal.", renewal)
	gauge(out, "certificates", "Number of certificates by state.", counts)
	gauge(out, "last_issued_timestamp_seconds", "When the latest of these certificates was issued.", last)
	gauge(out, "failed", "Sets of addresses whose last order failed.", single(len(s.Failed)))
	gauge(out, "failing_since_timestamp_seconds", "First failure after the last success.", failing)
	gauge(out, "orders", "Orders in flight.", single(len(s.Orders)))
	gauge(out, "challenges_pending", "Challenges that are waited for.", single(len(s.Pending)))
}

// gauge writes a metric with its samples, and nothing if there are none.
func gauge(out io.Writer, name, help string, samples []string) {
	if len(samples) == 0 {
		return
	}
	name = "postseal_issuer_" + name
	fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
	slices.Sort(samples)
	for _, s := range samples {
		fmt.Fprintf(out, "%s%s\n", name, s)
	}
}

func sample(labels string, value int64) string { return fmt.Sprintf("%s %d", labels, value) }

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// labels writes names and values in turn. Others' words in a value end no label.
func labels(pairs ...string) string {
	var all []string
	for pair := range slices.Chunk(pairs, 2) {
		all = append(all, pair[0]+`="`+labelEscapes.Replace(printable.Line(pair[1], maxCell))+`"`)
	}
	return "{" + strings.Join(all, ",") + "}"
}
