package issuer

import (
	"context"
	"errors"
	"path/filepath"
	"time"
)

// lockSerial makes this order the only one whose challenges are looked at by the
// CA (--compat serial), among all processes on this state directory.
func (c *ca) lockSerial(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(c.accountDir(), ".serial")
	tick := time.NewTicker(firstPoll)
	defer tick.Stop()
	for {
		unlock, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
