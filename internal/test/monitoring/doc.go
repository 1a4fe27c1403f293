// Package monitoring has Prometheus itself judge the rules and the dashboard of
// contrib/monitoring: promtool says when each alert fires, and a Prometheus that scrapes a
// milter and a node_exporter says that each expression finds something.
//
// There is nothing in it but tests. They need the Debian packages of .ci/packages and fail
// without them.
package monitoring
