// Package machine runs a test on a Debian machine of its own.
//
// Mail servers conflict with each other, want to be at port 25 and keep their files
// in /etc and /var; a package is installed once, by root, for the whole system. So a
// machine is Debian 12 with the packages of an image (images.sh, cached), in
// namespaces of its own for mounts, network, processes and names. Nothing reaches the
// host: the network has only a loopback interface, what is written lands in a tmpfs
// over the image, and all of it ends with the first process of the machine, however
// the test ends.
//
// The test binary runs itself three times:
//
//	as go test     makes the image, starts the next one in new namespaces, and
//	               reads what it reports
//	as init        makes the machine's file system its root and switches on its
//	               loopback; then starts the next one, and reaps what daemons leave,
//	               or becomes systemd, which starts the next one as a service
//	inside         is the test, seen from within
//
// A test says what it wants in a Spec, and is the same function at both ends:
//
//	func TestMain(m *testing.M) { machine.Main(m); os.Exit(m.Run()) }
//
//	func TestIt(t *testing.T) {
//		if !machine.Inside() {
//			machine.Run(t, machine.Spec{Image: "postfix", Kit: dir})
//			return
//		}
//		// Here we are root of a machine of our own.
//	}
//
// It needs root, the package debootstrap, and a mirror of Debian when an image is
// made; a machine that systemd runs needs a cgroup2 hierarchy too. Where one is
// missing the test fails and says which.
package machine
