// Package testimage makes the images that conformance cases and demos run,
// without a network and without a builder: the same options give the same bytes,
// and so the same digests, on every machine with the same Go release.
//
// Images are go-containerregistry's, so that they can be pushed to a registry,
// or written with [WriteOCI], [WriteDocker] and [WriteLayout]. [Hostile] lists
// those that nobody should accept.
package testimage

import (
	"context"
	"fmt"
	"os"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
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
	files := append(system(), program("bin/guest", binary))
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
	files := append(system(), program("bin/busybox", binary))
	for _, applet := range applets {
		files = append(files, link("bin/"+applet, "busybox"))
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
	layerType := types.OCILayer
	if opts.Docker {
		layerType = types.DockerLayer
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
	return assembleLayers(opts, layers, command)
}

// assembleLayers makes an image of these layers, whatever the options say of
// layers.
func assembleLayers(opts Options, layers []v1.Layer, command []string) (v1.Image, error) {
	manifestType, configType := types.OCIManifestSchema1, types.OCIConfigJSON
	if opts.Docker {
		manifestType, configType = types.DockerManifestSchema2, types.DockerConfigJSON
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
