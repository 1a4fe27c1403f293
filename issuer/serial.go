package issuer

import (
	"context"
	"path/filepath"

	"postseal/issuer/store"
)

// lockSerial makes this order the only one whose challenges are looked at by the
// CA (compat "serial"), among all processes on this state directory.
func (c *ca) lockSerial(ctx context.Context) (unlock func(), err error) {
	return store.LockWait(ctx, filepath.Join(c.accountDir(), ".serial"), func() {})
}
