package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// The numbers of users are those of the RFC: nobody else has them.
const (
	mailUser   = 8823 // the user postseal, and the group that both halves share
	issuerUser = 8824
)

// passwd gives no home: programs of a user who owns none use /var/lib/postseal.
const (
	passwd = "root:x:0:0::/:/\n" +
		"postseal:x:8823:8823:ACME mail challenges:/:/\n" +
		"postseal-issuer:x:8824:8823:S/MIME certificates:/:/\n"
	group = "root:x:0:\npostseal:x:8823:\n"
)

// file is a file of an image, or a directory if it has no data.
type file struct {
	mode     int64
	uid, gid int
	data     []byte
}

// files returns what the image of a half has, by path.
func (h half) files(built, texts string, sbom []byte) map[string]file {
	read := func(dir, name string) []byte { return must(os.ReadFile(filepath.Join(dir, name))) }
	tree := map[string]file{
		"/etc/passwd":                        {0o644, 0, 0, []byte(passwd)},
		"/etc/group":                         {0o644, 0, 0, []byte(group)},
		"/etc/ssl/certs/ca-certificates.crt": {0o644, 0, 0, roots()},
		"/etc/postseal":                      {0o755, 0, 0, nil},
		"/run/postseal":                      {0o750, mailUser, mailUser, nil}, // for a unix socket of the milter
		"/tmp":                               {0o1777, 0, 0, nil},

		"/usr/share/doc/postseal/LICENSE":             {0o644, 0, 0, read(texts, "LICENSE")},
		"/usr/share/doc/postseal/LICENSES-of-modules": {0o644, 0, 0, read(texts, "LICENSES-of-modules")},
		"/usr/share/doc/postseal/sbom.cdx.json":       {0o644, 0, 0, sbom},

		// As "postseal" makes them. A new volume that is mounted there begins with them,
		// whichever of the halves comes first.
		"/var/lib/postseal":          {0o750, issuerUser, mailUser, nil},
		"/var/lib/postseal/accounts": {0o700, issuerUser, mailUser, nil},
		"/var/lib/postseal/answers":  {0o3770, issuerUser, mailUser, nil},
		"/var/lib/postseal/certs":    {0o700, issuerUser, mailUser, nil},
		"/var/lib/postseal/orders":   {0o700, issuerUser, mailUser, nil},
		"/var/lib/postseal/pending":  {0o2750, issuerUser, mailUser, nil},
	}
	for _, path := range h.programs {
		tree[path] = file{0o755, 0, 0, read(built, filepath.Base(path))}
	}
	return tree
}

// layer packs files and the directories above them in the order of their paths, with
// nothing of the machine in it.
func layer(tree map[string]file, created time.Time) v1.Layer {
	for path := range maps.Clone(tree) {
		for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
			if _, there := tree[dir]; !there {
				tree[dir] = file{mode: 0o755}
			}
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, path := range slices.Sorted(maps.Keys(tree)) {
		f := tree[path]
		h := &tar.Header{Name: path[1:], Mode: f.mode, Uid: f.uid, Gid: f.gid, ModTime: created, Size: int64(len(f.data))}
		if f.data == nil {
			h.Name += "/" // which makes it a directory
		}
		check(w.WriteHeader(h))
		must(w.Write(f.data))
	}
	check(w.Close())
	return must(tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithCompressedCaching))
}

// roots returns Mozilla's roots, of the version that .ci/go.mod names, so that they do
// not depend on who makes the image. Those that Mozilla trusts with reservations, which a
// file of PEM cannot tell, are left out.
func roots() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			check(pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return out.Bytes()
}
