// Package recipes runs postseal behind each mail server that contrib/ has a recipe
// for. There is nothing in it but tests, with the build tag doors; `make doors` runs
// them and prints a table of what worked behind which neighbour.
//
// # A machine for each neighbour
//
// Each test runs on a machine of its own (package machine) with the packages of that
// neighbour. The recipes of contrib/ are used as they are, with no path or port
// changed. The test on the machine is the world of it: the test CA, DNS, the clock;
// it copies the recipe, starts the mail server and looks. What it finds are cells of
// the table.
//
// # Addresses
//
//	127.0.0.1:25   the mail server, mail.example.test
//	127.0.0.1:53   DNS: MX and A of the two domains, TXT from the test CA
//	192.0.2.1:25   the CA's mail host, where replies arrive
package recipes
