// Package sources has no code. Its tests take the [[enroll]] tables of
// contrib/enroll/README.md, start the server that each reads its addresses from, and run
// "postseal enroll" with them: the list has to be whole, and when the server is away,
// nothing may change. Only paths and names of servers are replaced.
package sources
