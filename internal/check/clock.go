package check

import (
	"context"
	"net/http"
	"time"
)

// maxSkew is how far the clock may be off: the mail half takes a signature that is
// as much ahead, and a challenge dated as much before its order.
const maxSkew = 5 * time.Minute

// checkClock compares the clock with that of the CA. A CA that does not answer has
// been complained about.
func (c *checker) checkClock(_ context.Context, r *report) {
	d, err := c.directory()
	if d == nil {
		r.skip("not compared with any other: the CA does not answer")
		return
	}
	date, dateErr := http.ParseTime(d.date)
	if dateErr != nil {
		r.skip("not compared with any other: the CA tells no time")
		return
	}
	_ = err // an error page has a date too
	skew := off(d.asked, d.told, date)
	switch {
	case skew > maxSkew || skew < -maxSkew:
		r.fail("set it, and keep it right with NTP", "this machine's clock is %s the CA's: good challenges will be refused", direction(skew))
	default:
		r.ok("within %s of the CA's", maxSkew)
	}
}

// off returns how far our clock is ahead of a date told between two moments. A date
// has no fractions of a second.
func off(before, after, date time.Time) time.Duration {
	switch {
	case before.After(date.Add(time.Second)):
		return before.Sub(date)
	case after.Before(date):
		return after.Sub(date)
	}
	return 0
}

func direction(skew time.Duration) string {
	if skew < 0 {
		return (-skew).Round(time.Second).String() + " behind"
	}
	return skew.Round(time.Second).String() + " ahead of"
}
