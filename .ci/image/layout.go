package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Media types of the OCI image specification 1.1.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeEmpty    = "application/vnd.oci.empty.v1+json"
	typeSBOM     = "application/vnd.cyclonedx+json"
)

type object map[string]any

// descriptor refers to a blob.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int               `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Platform     map[string]string `json:"platform,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// layout is an OCI image layout.
type layout struct {
	version   string
	time      time.Time
	blobs     map[string][]byte
	manifests []descriptor
}

func newLayout(version string, t time.Time) *layout {
	return &layout{version: version, time: t, blobs: map[string][]byte{}}
}

// image adds the image for one processor, and its SBOM as an artifact that refers to it.
// Both are in the index of the image, so whoever copies all of that copies the SBOM too;
// registries list it as a referrer. Its platform keeps it from being run.
func (l *layout) image(i image, arch string, layer, sbom []byte) {
	config := l.json(typeConfig, i.config(l, arch, digest(layer)))
	d := l.json(typeManifest, object{
		"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": []descriptor{l.blob(typeLayer, compressed(layer))},
		"annotations": l.annotations(i),
	})
	attached := l.json(typeManifest, object{
		"schemaVersion": 2, "mediaType": typeManifest, "artifactType": typeSBOM, "subject": d,
		"config": l.json(typeEmpty, object{}), "layers": []descriptor{l.blob(typeSBOM, sbom)},
	})
	d.Platform = map[string]string{"os": "linux", "architecture": arch}
	attached.ArtifactType, attached.Platform = typeSBOM, map[string]string{"os": "unknown", "architecture": "unknown"}
	l.manifests = append(l.manifests, d, attached)
}

// config is what a runtime is told. Healthcheck is Docker's: other runtimes, and
// Kubernetes, are told elsewhere.
func (i image) config(l *layout, arch, diffID string) object {
	run := object{
		"User": fmt.Sprintf("%d:%d", i.user, mailUser), "Env": []string{"PATH=/usr/bin"},
		"Entrypoint": i.programs[:1], "WorkingDir": "/", "Labels": l.annotations(i),
	}
	if i.probe != nil {
		run["Healthcheck"] = object{
			"Test": append([]string{"CMD"}, i.probe...), "Interval": 30 * time.Second, "Timeout": 10 * time.Second, "Retries": 3,
		}
	}
	return object{
		"created": l.time.Format(time.RFC3339), "os": "linux", "architecture": arch, "config": run,
		"rootfs":  object{"type": "layers", "diff_ids": []string{diffID}},
		"history": []object{{"created": l.time.Format(time.RFC3339), "created_by": "make image"}},
	}
}

func (l *layout) annotations(i image) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       i.name,
		"org.opencontainers.image.description": i.title,
		"org.opencontainers.image.version":     l.version,
		"org.opencontainers.image.created":     l.time.Format(time.RFC3339),
		"org.opencontainers.image.licenses":    "MIT",
	}
}

func (l *layout) json(mediaType string, v any) descriptor {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // of our own types
	}
	return l.blob(mediaType, data)
}

func (l *layout) blob(mediaType string, data []byte) descriptor {
	d := descriptor{MediaType: mediaType, Digest: digest(data), Size: len(data)}
	l.blobs[d.Digest] = data
	return d
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func compressed(data []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	_, _ = w.Write(data) // into memory
	_ = w.Close()
	return out.Bytes()
}

// write writes the archive and returns the digest by which a registry knows the image.
func (l *layout) write(path string, i image) (string, error) {
	index := l.json(typeIndex, object{
		"schemaVersion": 2, "mediaType": typeIndex, "manifests": l.manifests, "annotations": l.annotations(i),
	})
	index.Annotations = map[string]string{"org.opencontainers.image.ref.name": i.name + ":" + tag(l.version)}
	top, err := json.Marshal(object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{index}})
	if err != nil {
		return "", err
	}
	files := []file{
		{path: "oci-layout", mode: 0o644, data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{path: "index.json", mode: 0o644, data: top},
	}
	for digest, data := range l.blobs {
		files = append(files, file{path: "blobs/sha256/" + digest[len("sha256:"):], mode: 0o644, data: data})
	}
	data, err := archive(files, l.time)
	if err != nil {
		return "", err
	}
	return index.Digest, os.WriteFile(path, data, 0o644)
}
