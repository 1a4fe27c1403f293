package challenge

import (
	"fmt"
	"time"
)

// Rate bounds how many replies leave within an hour, so that who has stolen the key
// of a CA cannot use us as a mailer. 0 is no bound.
type Rate struct {
	PerCA, Total int
}

// overRate says why another reply must wait. The claim of this one is in the state
// directory already and counts too: of any number of processes that ask at the same
// time, not one too many goes on.
func (r *Responder) overRate(server string) error {
	rate := r.MaxAnswers
	if rate == (Rate{}) {
		return nil
	}
	recent, err := r.State.RecentAnswers(r.now().Add(-time.Hour), rate.least())
	if err != nil {
		return err
	}
	if rate.Total > 0 && len(recent) > rate.Total {
		return fmt.Errorf("%d replies were sent within an hour, which is the limit (--max-answers)", rate.Total)
	}
	// To one CA there are no more than to all: mostly no file need be read.
	if rate.PerCA > 0 && len(recent) > rate.PerCA && r.State.CountAnswers(recent, server) > rate.PerCA {
		return fmt.Errorf("%d replies were sent to this CA within an hour, which is the limit (--max-answers)", rate.PerCA)
	}
	return nil
}

// least is the bound that is reached first, whoever the replies go to.
func (r Rate) least() int {
	if r.PerCA == 0 || r.Total > 0 && r.Total < r.PerCA {
		return r.Total
	}
	return r.PerCA
}
