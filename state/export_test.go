package state

// Abandon does to a claim what the death of its process does.
func Abandon(c Claim) { c.(*dirClaim).file.Close() }

// PendingName returns the name of the file of the record for an address.
func PendingName(addr string) string { return fileName(addr, 1) }
