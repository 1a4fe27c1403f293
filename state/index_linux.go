package state

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changes is an inotify queue that its caller reads directly. A goroutine in between could
// hold an event that it has not passed on yet, and a record would be missed.
type changes struct {
	fd   int
	buf  [4096]byte
	gone bool // the directory was removed or moved away: the watch is useless
}

// watchChanges returns nil if the kernel gives no events.
func watchChanges(dir string) *changes {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil
	}
	const mask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ATTRIB | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		unix.Close(fd)
		return nil
	}
	return &changes{fd: fd}
}

// drain empties the queue and reports whether it held anything.
func (c *changes) drain() (changed bool) {
	for {
		// The read never waits, so the Go runtime need not know: it would wake its monitor
		// for each message, which costs more than the call.
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&c.buf)), unsafe.Sizeof(c.buf))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			return changed || errno != unix.EAGAIN
		}
		changed = true
		c.note(c.buf[:n])
	}
}

func (c *changes) note(events []byte) {
	for len(events) >= unix.SizeofInotifyEvent {
		// struct inotify_event: wd, mask, cookie, len, then the name.
		mask := binary.NativeEndian.Uint32(events[4:])
		if mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_IGNORED|unix.IN_UNMOUNT) != 0 {
			c.gone = true
		}
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		if size > len(events) {
			return
		}
		events = events[size:]
	}
}

// lost reports whether the watch must be made anew.
func (c *changes) lost() bool { return c != nil && c.gone }

func (c *changes) close() {
	if c != nil {
		unix.Close(c.fd)
	}
}
