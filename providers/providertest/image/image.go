// Package testimage makes the images that conformance cases and demos run,
// without a network and without a builder: the same options give the same bytes,
// and so the same digests, on every machine with the same Go release.
//
// Images are go-containerregistry's, so that they can be pushed to a registry,
// or written with [WriteOCI], [WriteDocker] and [WriteLayout]. [Hostile] lists
// those that nobody should accept.
package testimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Options says what an image holds beside its programs. The zero value is a
// small image for this machine's architecture.
type Options struct {
	// Platform is what the image says it is for. Zero means linux and this
	// machine's architecture. The guest program is compiled for the architecture
	// if it is one that it supports, amd64 or arm64, and for this machine's
	// otherwise: then the label is a lie, as a test of a wrong platform needs it.
	Platform v1.Platform
	// Config replaces the fields of the image's configuration that are set here.
	// By default the command is the guest program's "sleep 1h", PATH is /bin, and
	// the working directory is "/".
	Config v1.Config
	// Layers is the number of further layers, each with one file /data/N of
	// LayerSize bytes that do not compress.
	Layers int
	// LayerSize is the size of these files in bytes.
	LayerSize int64
	// Seed makes their content differ from that of other seeds.
	Seed uint64
	// Files are put into one further layer, by absolute path.
	Files map[string][]byte
	// Docker makes Docker's media types instead of OCI's.
	Docker bool
}

// Path is where the images of Guest hold the guest program.
const Path = "/bin/guest"

// User and UserID are the unprivileged user that the images know beside root and
// nobody. The group has the same name and number.
const (
	User   = "user"
	UserID = 1000
)

// Guest returns an image with the programs of package guest at Path. It
// compiles them with the go command, which must be installed, by import path: in
// the working directory's module or one that it requires.
func Guest(ctx context.Context, opts Options) (v1.Image, error) {
	binary, err := Binary(ctx, guestArchitecture(opts.platform()))
	if err != nil {
		return nil, err
	}
	files := append(system(),
		entry{Header: tar.Header{Name: "bin/guest", Typeflag: tar.TypeReg, Mode: 0o755}, content: binary})
	return assemble(opts, files, []string{Path, "sleep", "1h"})
}

// Busybox returns an image made of this machine's /bin/busybox, which must be
// statically linked (Debian's package busybox-static), with a link for each of
// the applets that a person at a prompt expects.
func Busybox(opts Options) (v1.Image, error) {
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("busybox for the image: %w", err)
	}
	files := append(system(),
		entry{Header: tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, content: binary})
	for _, applet := range applets {
		files = append(files, entry{Header: tar.Header{
			Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}})
	}
	return assemble(opts, files, []string{"/bin/sh"})
}

// Data returns an image without any program: nothing in it can run, but it is
// quick to make and to move about.
func Data(opts Options) (v1.Image, error) {
	return assemble(opts, nil, []string{"/none"})
}

// Index returns an image for several platforms: that of each of the images.
func Index(images ...v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: config.Platform()},
		})
	}
	return index, nil
}

var applets = []string{
	"awk", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "du", "echo",
	"env", "false", "find", "free", "grep", "head", "hostname", "id", "ip", "kill",
	"ln", "ls", "mkdir", "mount", "mv", "nc", "nproc", "od", "ping", "ps", "pwd",
	"rm", "sed", "seq", "sh", "sleep", "sort", "stat", "sync", "tail", "tar", "tee",
	"test", "top", "touch", "tr", "true", "uname", "uptime", "vi", "wc", "yes",
}

func (o Options) platform() v1.Platform {
	p := o.Platform
	if p.OS == "" {
		p.OS = "linux"
	}
	if p.Architecture == "" {
		p.Architecture = runtime.GOARCH
	}
	return p
}

// assemble makes an image of a first layer with the given files, unless there are
// none, and what the options ask for.
func assemble(opts Options, files []entry, command []string) (v1.Image, error) {
	manifestType, configType, layerType := types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer
	if opts.Docker {
		manifestType, configType, layerType = types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer
	}
	var layers []v1.Layer
	add := func(files []entry) error {
		layer, err := newLayer(files, layerType)
		layers = append(layers, layer)
		return err
	}
	if len(files) > 0 {
		if err := add(files); err != nil {
			return nil, err
		}
	}
	for n := range opts.Layers {
		if err := add(noise(n, opts.LayerSize, opts.Seed)); err != nil {
			return nil, err
		}
	}
	if len(opts.Files) > 0 {
		if err := add(extra(opts.Files)); err != nil {
			return nil, err
		}
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, manifestType), configType)
	image, err := mutate.AppendLayers(image, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	p := opts.platform()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.OSVersion, config.OSFeatures = p.OSVersion, p.OSFeatures
	config.Created = v1.Time{Time: epoch}
	config.History = nil
	config.Config = configure(opts.Config, command)
	return mutate.ConfigFile(image, config)
}

// configure fills in what the options leave to the image. An entrypoint without
// a command is meant to stand alone.
func configure(c v1.Config, command []string) v1.Config {
	if c.Cmd == nil && c.Entrypoint == nil {
		c.Cmd = command
	}
	if c.Env == nil {
		c.Env = []string{"PATH=/bin"}
	}
	if c.WorkingDir == "" {
		c.WorkingDir = "/"
	}
	return c
}

// epoch is the only time that occurs in an image.
var epoch = time.Unix(0, 0).UTC()

// entry is a file of a layer.
type entry struct {
	tar.Header
	content []byte
}

func folder(name string, mode int64) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}}
}

func file(name string, content []byte) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content: content}
}

// system returns the folders and files that every runnable image has.
func system() []entry {
	home := folder("home/"+User+"/", 0o755)
	home.Uid, home.Gid = UserID, UserID
	return []entry{
		folder("bin/", 0o755), folder("dev/", 0o755), folder("etc/", 0o755),
		folder("home/", 0o755), home,
		folder("proc/", 0o555), folder("root/", 0o700), folder("run/", 0o755),
		folder("sys/", 0o555), folder("tmp/", 0o1777), folder("var/", 0o755),
		file("etc/passwd", fmt.Appendf(nil, "root:x:0:0:root:/root:/bin/sh\n"+
			"%s:x:%d:%[2]d::/home/%[1]s:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n", User, UserID)),
		file("etc/group", fmt.Appendf(nil, "root:x:0:\n%s:x:%d:\nshared:x:2000:%[1]s\nnogroup:x:65534:\n", User, UserID)),
	}
}

// noise returns the file of a further layer.
func noise(n int, size int64, seed uint64) []entry {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%016x%016x", seed, n))
	content := make([]byte, size)
	// A ChaCha8 never fails.
	_, _ = rand.NewChaCha8(key).Read(content)
	return []entry{folder("data/", 0o755), file(fmt.Sprintf("data/%d", n), content)}
}

// extra returns the given files with the folders that lead to them.
func extra(files map[string][]byte) []entry {
	var entries []entry
	made := map[string]bool{".": true}
	var lead func(dir string)
	lead = func(dir string) {
		if !made[dir] {
			made[dir] = true
			lead(path.Dir(dir))
			entries = append(entries, folder(dir+"/", 0o755))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		clean := strings.TrimPrefix(path.Join("/", name), "/")
		lead(path.Dir(clean))
		entries = append(entries, file(clean, files[name]))
	}
	return entries
}

// newLayer packs files in the given order.
func newLayer(files []entry, kind types.MediaType) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, f := range files {
		h := f.Header
		h.ModTime = epoch
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(f.content))
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return layerOf(packed.Bytes(), kind)
}

// layerOf compresses a tar stream.
func layerOf(packed []byte, kind types.MediaType) (v1.Layer, error) {
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(kind),
		tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
}
