// Package machine runs a test on a Debian machine of its own.
//
// Mail servers conflict with each other, want to be at port 25 and keep their files
// in /etc and /var; a package is installed once, by root, for the whole system. So a
// machine is Debian 12 with the packages of an image (machine.sh, cached), which
// systemd-nspawn runs. Nothing reaches the host: the network has only a loopback
// interface, and what is written lands in a tmpfs over the image.
//
// A test says what it wants in a Spec, and is the same function at both ends:
//
//	func TestIt(t *testing.T) {
//		if !machine.Inside() {
//			machine.Run(t, machine.Spec{Image: "postfix", Kit: dir})
//			return
//		}
//		// Here we are root of a machine of our own.
//	}
//
// It needs root, the packages debootstrap and systemd-container, and a mirror of Debian
// when an image is made. The host needs no running systemd, and may be a container that
// can mount overlays and cgroup2. Where something is missing the test fails with what
// the tools say.
//
// # What systemd-nspawn does not do
//
// It assumes that systemd runs on the host and cleans up behind it. So machine.sh runs
// it in a mount and a PID namespace of their own:
//
//   - Its processes survive a SIGKILL. The first process of the PID namespace takes them
//     along, and ends with the thread of the test that started it.
//   - It leaves directories in /tmp and /run, which are a tmpfs there.
//   - With --keep-unit it makes its cgroups below that of its parent, the same for all
//     machines at once. So each has a group of its own. It mounts for the machine what
//     the host has; cgroup2 alone is mounted there, for a host that still has the first
//     version beside it.
//   - --volatile=overlay refuses /, and does not show what was changed. machine.sh mounts
//     the overlay.
//   - Its filter refuses the system calls of Landlock, with which the programs confine
//     themselves, unless told otherwise.
package machine
