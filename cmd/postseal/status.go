package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer"
	"postseal/issuer/cert"
)

// statusCmd are the flags of "postseal status".
type statusCmd struct {
	Email  []string `short:"e" placeholder:"ADDR" help:"What concerns one of these, with the history of their orders."`
	Failed bool     `help:"Only addresses whose last order failed or that have no certificate yet, and why."`

	Prometheus bool `help:"Write metrics for a textfile collector."`
}

func (c *statusCmd) run(s *session, file *cli.File) error {
	if c.Prometheus && (s.JSON || c.Failed) {
		return failure.Usage("leave the others out", "--prometheus goes with neither --json nor --failed")
	}
	if !s.given("email") { // the file's is whom to order for
		c.Email = nil
	}
	emails, err := cert.ParseAddresses(c.Email)
	if err != nil {
		return err
	}
	status, err := s.issuer.Status()
	if err != nil {
		return err
	}
	status.Only(emails)
	if c.Failed {
		status.OnlyFailed()
	}
	if len(emails) == 0 {
		status.History = []issuer.HistoryStatus{} // of thousands of addresses nobody reads it
	}
	if s.JSON {
		return printJSON(status)
	}
	if c.Prometheus {
		writeMetrics(os.Stdout, status, slices.Collect(maps.Keys(s.opts.Kinds)), domainsOf(file))
		return nil
	}
	if c.Failed && len(status.Failed)+len(status.Without) == 0 {
		fmt.Println("No failed orders.")
		return nil
	}
	writeStatus(os.Stdout, status)
	return nil
}

func writeStatus(out io.Writer, s *issuer.Status) {
	if len(s.Certificates)+len(s.Orders)+len(s.Pending)+len(s.Answers)+len(s.Failed)+len(s.Without)+len(s.History) == 0 {
		fmt.Fprintln(out, "There are no certificates and no orders.")
	}
	section(out, "CERTIFICATE\tADDRESSES\tEXPIRES\tDAYS\tRENEWAL\tSTATE\tCA", len(s.Certificates), func(w io.Writer, n int) {
		c := s.Certificates[n]
		cells(w, c.Name, strings.Join(c.Emails, " "), day(c.NotAfter), strconv.Itoa(c.DaysLeft), renewalOf(c), c.State, host(c.Server))
	})
	section(out, "ORDER\tSINCE\tCA\tWAITS FOR", len(s.Orders), func(w io.Writer, n int) {
		o := s.Orders[n]
		waits := o.WaitingFor
		if !o.Running {
			waits += " (no process is running: the same command resumes it)"
		}
		name := o.Name
		if o.DryRun {
			name += " (dry run)"
		}
		cells(w, name, moment(o.Created), host(o.Server), waits)
	})
	section(out, "CHALLENGE FOR\tFROM\tSTATE\tUNTIL\tCA", len(s.Pending), func(w io.Writer, n int) {
		p := s.Pending[n]
		cells(w, p.Email, p.From, p.State, moment(p.Expires), host(p.Server))
	})
	section(out, "NOT ANSWERED FOR\tTIME\tTIMES\tVERDICT\tREASON", len(s.Notes), func(w io.Writer, k int) {
		n := s.Notes[k]
		cells(w, n.Email, moment(n.Time), strconv.Itoa(n.Count), n.Verdict, n.Reason)
	})
	section(out, "ANSWER FOR\tTIME\tPHASE\tREASON", len(s.Answers), func(w io.Writer, n int) {
		a := s.Answers[n]
		cells(w, a.Email, moment(a.Time), a.Phase, a.Reason)
	})
	section(out, "FAILED FOR\tLAST\tSINCE\tCA\tREASON", len(s.Failed), func(w io.Writer, n int) {
		f := s.Failed[n]
		cells(w, strings.Join(f.Emails, " "), moment(f.Time), moment(f.Since), host(f.Server), f.Reason)
	})
	section(out, "WITHOUT A CERTIFICATE\tSINCE\tNEXT TRY\tREASON", len(s.Without), func(w io.Writer, n int) {
		a := s.Without[n]
		next := ""
		if a.Next != 0 {
			next = day(a.Next.Time())
		}
		cells(w, whose([]string{a.Email}, a.Kind), day(a.Since.Time()), next, a.Reason)
	})
	section(out, "HISTORY OF\tTIME\tEVENT\tCA\tSERIAL\tREASON", len(s.History), func(w io.Writer, n int) {
		h := s.History[n]
		cells(w, strings.Join(h.Emails, " "), moment(h.Time), h.Event, host(h.Server), h.Serial, h.Reason)
	})
	section(out, "ENROLLMENT OF\tLAST\tADDRESSES\tGONE\tLEFT", len(s.Enroll), func(w io.Writer, n int) {
		e := s.Enroll[n]
		cells(w, e.Domain, moment(e.Accepted.Time()), strconv.Itoa(e.Addresses), strconv.Itoa(e.Gone), strconv.Itoa(e.Left))
	})
	section(out, "LAST RUN OF\tENDED\tEXIT STATUS", len(s.Runs), func(w io.Writer, n int) {
		r := s.Runs[n]
		cells(w, r.Command, moment(r.Ended), strconv.Itoa(r.Status))
	})
	section(out, "MAIL HALF ON\tLAST SEEN", len(s.MailHalves), func(w io.Writer, n int) {
		h := s.MailHalves[n]
		cells(w, h.Host, moment(h.Seen))
	})
}

// renewalOf says when a certificate is renewed, or why it is not.
func renewalOf(c issuer.CertStatus) string {
	if c.Left != "" {
		return "none: " + c.Left
	}
	return day(c.RenewAt) + " (" + c.RenewSource + ")"
}

// section writes a table with n rows, and nothing if there are none.
func section(out io.Writer, head string, n int, row func(io.Writer, int)) {
	if n == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, head)
	for k := range n {
		row(w, k)
	}
	w.Flush()
	fmt.Fprintln(out)
}

// maxCell bounds a cell of a table, in bytes.
const maxCell = 500

// cells writes a row. Others' words in it can begin no other row, and no other column.
func cells(w io.Writer, texts ...string) {
	for n, text := range texts {
		texts[n] = printable.Line(cli.OneLine(text), maxCell)
	}
	fmt.Fprintln(w, strings.Join(texts, "\t"))
}

// day and moment write times for people, in their own zone.
func day(t time.Time) string { return t.Local().Format("2006-01-02") }

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// host shortens the URL of a directory.
func host(server string) string {
	server = strings.TrimPrefix(server, "https://")
	name, _, _ := strings.Cut(server, "/")
	return name
}
