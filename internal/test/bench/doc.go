// Package bench has no code. Its benchmarks tell what postseal costs beside what
// others cost, each comparison interleaved in one run: `make bench` prints the
// tables that contrib/performance.md explains.
//
// Machines are noisy, so each figure is the median of at least ten rounds, in each
// of which every candidate has its turn, and each ratio is the median of the ratios
// within a round. CPU is that of the process under test, user and system, as the
// kernel's clock for processes has it.
package bench
