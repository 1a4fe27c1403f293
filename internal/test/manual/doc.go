// Package manual compares manual pages with the programs that they are about, for
// tests: a page that leaves out a flag, or names one that is gone, costs its reader
// an hour.
//
// It reads as much of mdoc(7) as the pages of this tree use: sections (.Sh),
// subsections (.Ss), and the items of lists (.It). What a page looks like, and
// whether it is good mdoc, mandoc(1) is asked.
package manual
