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
	if !s.given("email") { // the file names those to order for
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
		status.History = []issuer.HistoryStatus{} // nobody reads that of thousands of addresses
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
	section(out, "CERTIFICATE\tADDRESSES\tEXPIRES\tDAYS\tRENEWAL\tSTATE\tCA", s.Certificates, func(c issuer.CertStatus) []string {
		return []string{c.Name, strings.Join(c.Emails, " "), day(c.NotAfter), strconv.Itoa(c.DaysLeft), renewalOf(c), c.State, host(c.Server)}
	})
	section(out, "ORDER\tSINCE\tCA\tWAITS FOR", s.Orders, func(o issuer.OrderStatus) []string {
		if !o.Running {
			o.WaitingFor += " (no process is running: the same command resumes it)"
		}
		if o.DryRun {
			o.Name += " (dry run)"
		}
		return []string{o.Name, moment(o.Created), host(o.Server), o.WaitingFor}
	})
	section(out, "CHALLENGE FOR\tFROM\tSTATE\tUNTIL\tCA", s.Pending, func(p issuer.PendingStatus) []string {
		return []string{p.Email, p.From, p.State, moment(p.Expires), host(p.Server)}
	})
	section(out, "NOT ANSWERED FOR\tTIME\tTIMES\tVERDICT\tREASON", s.Notes, func(n issuer.NoteStatus) []string {
		return []string{n.Email, moment(n.Time), strconv.Itoa(n.Count), n.Verdict, n.Reason}
	})
	section(out, "ANSWER FOR\tTIME\tPHASE\tREASON", s.Answers, func(a issuer.AnswerStatus) []string {
		return []string{a.Email, moment(a.Time), a.Phase, a.Reason}
	})
	section(out, "FAILED FOR\tLAST\tSINCE\tCA\tREASON", s.Failed, func(f issuer.FailedStatus) []string {
		return []string{strings.Join(f.Emails, " "), moment(f.Time), moment(f.Since), host(f.Server), f.Reason}
	})
	section(out, "WITHOUT A CERTIFICATE\tSINCE\tNEXT TRY\tREASON", s.Without, func(a issuer.WithoutStatus) []string {
		next := ""
		if a.Next != 0 {
			next = day(a.Next.Time())
		}
		return []string{whose([]string{a.Email}, a.Kind), day(a.Since.Time()), next, a.Reason}
	})
	section(out, "HISTORY OF\tTIME\tEVENT\tCA\tSERIAL\tREASON", s.History, func(h issuer.HistoryStatus) []string {
		return []string{strings.Join(h.Emails, " "), moment(h.Time), h.Event, host(h.Server), h.Serial, h.Reason}
	})
	section(out, "ENROLLMENT OF\tLAST\tADDRESSES\tGONE\tLEFT", s.Enroll, func(e issuer.EnrollStatus) []string {
		return []string{e.Domain, moment(e.Accepted.Time()), strconv.Itoa(e.Addresses), strconv.Itoa(e.Gone), strconv.Itoa(e.Left)}
	})
	section(out, "LAST RUN OF\tENDED\tEXIT STATUS", s.Runs, func(r issuer.RunStatus) []string {
		return []string{r.Command, moment(r.Ended), strconv.Itoa(r.Status)}
	})
	section(out, "MAIL HALF ON\tLAST SEEN", s.MailHalves, func(h issuer.HalfStatus) []string {
		return []string{h.Host, moment(h.Seen)}
	})
}

// renewalOf returns when a certificate is renewed, or why it is not.
func renewalOf(c issuer.CertStatus) string {
	if c.Left != "" {
		return "none: " + c.Left
	}
	return day(c.RenewAt) + " (" + c.RenewSource + ")"
}

// section writes a table with a row for each item, and nothing without items.
func section[T any](out io.Writer, head string, items []T, row func(T) []string) {
	if len(items) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, head)
	for _, item := range items {
		cells(w, row(item)...)
	}
	w.Flush()
	fmt.Fprintln(out)
}

// maxCell bounds a cell of a table, in bytes.
const maxCell = 500

// cells writes a row. Foreign text in it can start neither another row nor another column.
func cells(w io.Writer, texts ...string) {
	for n, text := range texts {
		texts[n] = printable.Line(cli.OneLine(text), maxCell)
	}
	fmt.Fprintln(w, strings.Join(texts, "\t"))
}

// day and moment write times for people, in the local zone.
func day(t time.Time) string { return t.Local().Format("2006-01-02") }

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// host returns the host of a directory's URL, and its port.
func host(server string) string {
	server = strings.TrimPrefix(server, "https://")
	name, _, _ := strings.Cut(server, "/")
	return name
}
