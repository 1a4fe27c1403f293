// Package release makes releases of this source with .ci/release, as `make deb` and
// `make dist` do, and looks at them: what is in them, that the same source gives the
// same bytes, and that lintian has nothing to say. With the build tag packages it
// installs, upgrades and removes the Debian package on machines (package machine);
// `make packages` runs that.
//
// There is nothing in it but tests.
package release
