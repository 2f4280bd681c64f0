package fake

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// The formats of the OCI image specification
// (https://github.com/opencontainers/image-spec), as far as they are needed here.

const (
	mediaManifest       = "application/vnd.oci.image.manifest.v1+json"
	mediaIndex          = "application/vnd.oci.image.index.v1+json"
	mediaConfig         = "application/vnd.oci.image.config.v1+json"
	mediaLayer          = "application/vnd.oci.image.layer.v1.tar"
	mediaDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	mediaDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"

	// annotationName is where containerd and docker put an image's full name, and
	// annotationRef where the specification puts its name in the layout.
	annotationName = "io.containerd.image.name"
	annotationRef  = "org.opencontainers.image.ref.name"
)

type descriptor struct {
	MediaType   string            `json:"mediaType,omitempty"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *compute.Platform `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Manifests     []descriptor `json:"manifests"`
}

type settings struct {
	Created      *time.Time `json:"created,omitempty"`
	Architecture string     `json:"architecture"`
	Variant      string     `json:"variant,omitempty"`
	OS           string     `json:"os"`
	Config       struct {
		User         string              `json:"User,omitempty"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
		Env          []string            `json:"Env,omitempty"`
		Entrypoint   []string            `json:"Entrypoint,omitempty"`
		Cmd          []string            `json:"Cmd,omitempty"`
		Volumes      map[string]struct{} `json:"Volumes,omitempty"`
		WorkingDir   string              `json:"WorkingDir,omitempty"`
		Labels       map[string]string   `json:"Labels,omitempty"`
		StopSignal   string              `json:"StopSignal,omitempty"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []history `json:"history,omitempty"`
}

type history struct {
	CreatedBy string `json:"created_by,omitempty"`
}

// blob is content with its digest.
type blob struct {
	mediaType string
	digest    string
	data      []byte
}

func blobOf(mediaType string, data []byte) blob {
	return blob{mediaType, digestOf(data), data}
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (b blob) descriptor() descriptor {
	return descriptor{MediaType: b.mediaType, Digest: b.digest, Size: int64(len(b.data))}
}

// layer is a layer of files.
type layer struct {
	blob
	// diffID is the digest of the unpacked archive.
	diffID string
}

// open returns the layer's archive.
func (l layer) open() (*tar.Reader, error) {
	plain, err := unpacked(l.data)
	if err != nil {
		return nil, err
	}
	return tar.NewReader(bytes.NewReader(plain)), nil
}

const (
	// maxUnpacked bounds what a layer, and an archive of images, may hold: they
	// come from outside and lie in memory.
	maxUnpacked = 1 << 30
	// maxDocument bounds a manifest, an index and a configuration.
	maxDocument = 8 << 20
	// maxAccounts bounds /etc/passwd and /etc/group.
	maxAccounts = 1 << 20
)

var errTooLarge = errors.New("is too large")

// unpacked returns a layer's archive, which may be compressed by gzip.
func unpacked(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if err == nil && len(plain) > maxUnpacked {
		err = errTooLarge
	}
	return plain, err
}

// assemble makes the content of an image out of its blobs: everything that is
// said of them is checked. It says DataLoss where a blob is missing or is not what
// its digest says, and InvalidArgument where it makes no sense.
func assemble(manifestText []byte, find func(digest string) ([]byte, bool)) (*artifact, error) {
	var m manifest
	if err := readDocument(manifestText, &m); err != nil {
		return nil, malformed("the manifest: %w", err)
	}
	fetch := func(d descriptor, what string) (blob, error) {
		if !isDigest(d.Digest) {
			return blob{}, malformed("%s has no proper digest: %q", what, d.Digest)
		}
		data, ok := find(d.Digest)
		switch {
		case !ok:
			return blob{}, resource.Errorf(errdefs.ErrDataLoss, "%s %s is missing", what, d.Digest)
		case d.Size != int64(len(data)):
			return blob{}, resource.Errorf(errdefs.ErrDataLoss, "%s %s has %d bytes instead of %d", what, d.Digest, len(data), d.Size)
		case digestOf(data) != d.Digest:
			return blob{}, resource.Errorf(errdefs.ErrDataLoss, "%s %s is corrupt", what, d.Digest)
		}
		return blob{d.MediaType, d.Digest, data}, nil
	}
	c := &artifact{form: compute.RootFS, manifest: blobOf(m.mediaType(), manifestText)}
	c.digest = c.manifest.digest
	var err error
	if c.settings, err = fetch(m.Config, "the configuration"); err != nil {
		return nil, err
	}
	var s settings
	if err := readDocument(c.settings.data, &s); err != nil {
		return nil, malformed("the configuration: %w", err)
	}
	if len(s.RootFS.DiffIDs) != len(m.Layers) {
		return nil, malformed("the configuration knows %d layers, the manifest %d", len(s.RootFS.DiffIDs), len(m.Layers))
	}
	c.size = int64(len(manifestText) + len(c.settings.data))
	accounts := map[string][]byte{}
	for n, d := range m.Layers {
		b, err := fetch(d, "layer")
		if err != nil {
			return nil, err
		}
		l := layer{b, s.RootFS.DiffIDs[n]}
		if err := l.check(accounts); err != nil {
			return nil, err
		}
		c.layers = append(c.layers, l)
		c.size += int64(len(l.data))
	}
	c.take(s)
	c.users, c.groups = parseAccounts(accounts["etc/passwd"], accounts["etc/group"])
	return c, nil
}

func malformed(format string, args ...any) error {
	return &resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "source", Err: fmt.Errorf(format, args...)}
}

func (m manifest) mediaType() string {
	if m.MediaType == "" {
		return mediaManifest
	}
	return m.MediaType
}

func readDocument(data []byte, into any) error {
	if len(data) > maxDocument {
		return errTooLarge
	}
	return json.Unmarshal(data, into)
}

func isDigest(s string) bool {
	text, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(text) == 2*sha256.Size && strings.Trim(text, "0123456789abcdef") == ""
}

// check reads the whole layer, and keeps the files that say which users there are.
func (l layer) check(accounts map[string][]byte) error {
	plain, err := unpacked(l.data)
	if err != nil {
		return resource.Errorf(errdefs.ErrDataLoss, "layer %s: %w", l.digest, err)
	}
	if digestOf(plain) != l.diffID {
		return resource.Errorf(errdefs.ErrDataLoss, "layer %s is not the one that the configuration knows, %s", l.digest, l.diffID)
	}
	r := tar.NewReader(bytes.NewReader(plain))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return malformed("layer %s: %w", l.digest, err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if h.Typeflag == tar.TypeReg && (name == "etc/passwd" || name == "etc/group") {
			text, err := io.ReadAll(io.LimitReader(r, maxAccounts))
			if err != nil {
				return malformed("layer %s: %w", l.digest, err)
			}
			accounts[name] = text
		}
	}
}

// take takes over what the configuration says.
func (c *artifact) take(s settings) {
	c.platform = compute.Platform{OS: s.OS, Architecture: s.Architecture, Variant: s.Variant}
	c.config = compute.ImageConfig{
		Entrypoint: s.Config.Entrypoint, Cmd: s.Config.Cmd, Env: s.Config.Env, User: s.Config.User,
		Dir: s.Config.WorkingDir, StopSignal: s.Config.StopSignal, Labels: s.Config.Labels,
		Ports: slices.Sorted(maps.Keys(s.Config.ExposedPorts)), Volumes: slices.Sorted(maps.Keys(s.Config.Volumes)),
	}
	if s.Created != nil {
		c.made = *s.Created
	}
}

// parseAccounts reads passwd(5) and group(5). Lines that make no sense are left
// out, as a C library does.
func parseAccounts(passwd, group []byte) (map[string]User, map[string]int) {
	users, groups := map[string]User{}, map[string]int{}
	for line := range strings.Lines(string(passwd)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) < 4 {
			continue
		}
		uid, err := strconv.Atoi(fields[2])
		gid, err2 := strconv.Atoi(fields[3])
		if _, known := users[fields[0]]; err == nil && err2 == nil && fields[0] != "" && !known {
			u := User{Name: fields[0], UID: uid, GID: gid}
			if len(fields) > 5 {
				u.Home = fields[5]
			}
			users[u.Name] = u
		}
	}
	for line := range strings.Lines(string(group)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) < 4 {
			continue
		}
		gid, err := strconv.Atoi(fields[2])
		if err != nil || fields[0] == "" {
			continue
		}
		groups[fields[0]] = gid
		for name := range strings.SplitSeq(fields[3], ",") {
			if u, ok := users[name]; ok && gid != u.GID {
				u.Groups = append(u.Groups, gid)
				users[name] = u
			}
		}
	}
	return users, groups
}
