// Package multimx has no code. Its test runs postseal on a site of several machines:
// three MX hosts, each a network namespace with a Postfix and a postseal-milter of
// its own, and one more with the CA, the issuing half and Redis. It cuts one off,
// kills and restarts, and counts what became of the challenges.
package multimx
