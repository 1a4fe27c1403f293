// Package layout has no code. Its test keeps the shape of the source tree: who
// may import whom, what each program may link, which modules we depend on, what
// stands at the top, and how long a function may get.
//
// postseal's promise is that the half which reads foreign mail cannot reach a key.
// That promise is kept by what is not linked, so it is tested here and not left to
// reviewers.
package layout
