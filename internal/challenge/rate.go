package challenge

import (
	"fmt"
	"time"
)

// Rate bounds how many replies leave within an hour, so that whoever steals the key of a CA
// cannot use us as a mailer. 0 means no bound.
type Rate struct {
	PerCA, Total int
}

// overRate says why another reply must wait. The claim of this one is in the state store
// already and counts: of any number of processes that ask at the same time, not one too many
// proceeds.
func (r *Responder) overRate(server string) error {
	rate := r.MaxAnswers
	if rate == (Rate{}) {
		return nil
	}
	all, toCA, err := r.State.AnswersWithin(time.Hour, server, r.now())
	if err != nil {
		return err
	}
	if rate.Total > 0 && all > rate.Total {
		return fmt.Errorf("%d replies were sent within an hour, which is the limit (--max-answers)", rate.Total)
	}
	if rate.PerCA > 0 && toCA > rate.PerCA {
		return fmt.Errorf("%d replies were sent to this CA within an hour, which is the limit (--max-answers)", rate.PerCA)
	}
	return nil
}
