package glance

import "syscall"

// Read is what was read of stdin; the message starts with it.
var Read []byte

// defaultConfig is cli.DefaultConfig.
const defaultConfig = "/etc/postseal/postseal.toml"

// buffer holds what is looked at of a message. Its pages cost something only when
// they are used.
var buffer [64 << 10]byte

func init() {
	if !plain(arguments()) || configured() {
		return
	}
	for len(Read) < len(buffer) {
		n := readStdin(buffer[len(Read):])
		if n <= 0 {
			return // what is wrong is said where there are words for it
		}
		Read = buffer[:len(Read)+n]
		switch judge(Read) {
		case ordinary:
			finish()
			return
		case doubtful:
			return
		}
	}
}

// finish reads the rest of the message and ends the process. It returns only if
// that fails; the header is then at the start of Read.
func finish() {
	var rest [32 << 10]byte
	for {
		switch n := readStdin(rest[:]); {
		case n == 0:
			syscall.Exit(0)
		case n < 0:
			return
		}
	}
}

func readStdin(p []byte) int {
	for {
		n, err := syscall.Read(0, p)
		if err != syscall.EINTR {
			return n
		}
	}
}

// arguments returns the command line as the kernel has it, nil if that cannot be
// read: os.Args is not set yet.
func arguments() []byte {
	line, _ := readFile("/proc/self/cmdline")
	return line
}

// configured reports whether anything but the command line says what to do about
// ordinary mail, or may be wrong. Whether a file of the user's own counts is for
// internal/cli to say.
func configured() bool {
	for _, env := range syscall.Environ() {
		if len(env) > 9 && env[:9] == "POSTSEAL_" {
			return true
		}
	}
	var stat syscall.Stat_t
	if path := ownConfig(); path != "" && syscall.Stat(path, &stat) == nil {
		return true
	}
	file, err := readFile(defaultConfig)
	return err != syscall.ENOENT && (err != nil || !plainConfig(file))
}

// ownConfig is where cli.UserConfig looks.
func ownConfig() string {
	base, _ := syscall.Getenv("XDG_CONFIG_HOME")
	if base == "" || base[0] != '/' {
		home, _ := syscall.Getenv("HOME")
		base = home + "/.config"
	}
	if base[0] != '/' || syscall.Geteuid() == 0 {
		return ""
	}
	return base + "/postseal/postseal.toml"
}

// readFile reads a small file.
func readFile(path string) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	data := make([]byte, 4096)
	n, err := syscall.Read(fd, data)
	if err == nil && n == len(data) {
		err = syscall.EFBIG
	}
	if err != nil {
		return nil, err
	}
	return data[:n], nil
}
