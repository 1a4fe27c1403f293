// Package doors runs postseal behind each mail server that contrib/ has a recipe
// for. There is nothing in it but tests, with the build tag doors; `make doors` runs
// them and prints a table of what worked behind which neighbour.
//
// # A machine for each neighbour
//
// Mail servers conflict with each other, want to be at port 25 and keep their files
// in /etc and /var. So each test runs on a machine of its own: Debian 12 with the
// packages of that neighbour (images.sh, cached), in namespaces of its own for
// mounts, network, processes and names. The recipes of contrib/ are used as they are,
// with no path or port changed. Nothing reaches the host: the network has only a
// loopback interface, what is written lands in a tmpfs over the image, and all of it
// ends with the first process of the machine, however the test ends.
//
// The test binary runs itself three times:
//
//	as go test     makes the image, starts the next one in new namespaces, reads
//	               the results and prints the table
//	as init        mounts the machine's file system, configures its loopback, starts
//	               the next one with the new root, and reaps what daemons leave
//	inside         is the world of that machine: the test CA, DNS, the clock of the
//	               test; it copies the recipe, starts the mail server and looks
//
// # Addresses
//
//	127.0.0.1:25   the mail server, mail.example.test
//	127.0.0.1:53   DNS: MX and A of the two domains, TXT from the test CA
//	192.0.2.1:25   the CA's mail host, where replies arrive
package doors
