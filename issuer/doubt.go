package issuer

import (
	"context"
	"fmt"
	"time"
)

// doubtShare is the part of the time left that a reply in doubt may take: another
// order, with its mail, has to fit into the rest.
const doubtShare = 3

// doubtUntil gives a reply that may never have left some time to arrive. It counts
// from the POST, whichever run of the program made that.
func (v *vigil) doubtUntil(ctx context.Context, posted time.Time) {
	patience := v.r.i.Timing.Doubt - max(0, v.r.i.now().Sub(posted))
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(end)/doubtShare)
	}
	v.doubt.Reset(max(0, patience))
}

// giveUp ends an order whose reply has not arrived, unless the CA says now that it has.
func (v *vigil) giveUp(ctx context.Context) error {
	if done, err := v.look(ctx); done || err != nil {
		return err
	}
	return &deadOrder{fmt.Errorf("the reply for %s was lost: %s", v.c.Email, v.answer.Reason), true}
}
