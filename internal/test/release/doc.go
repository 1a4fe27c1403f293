// Package release makes releases of this source with .ci/release, as `make deb`, `make
// dist` and `make image` do, and looks at them: what is in them, that the same source
// gives the same bytes, and that lintian has nothing to say. It runs the images, as the
// files of contrib/containers say. With the build tag packages it
// installs, upgrades and removes the Debian package on machines (package machine);
// `make packages` runs that.
//
// There is nothing in it but tests.
package release
