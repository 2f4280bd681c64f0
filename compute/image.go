package compute

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/univirt/univirt/resource"
)

// Images are the images of one provider and namespace. Images are found by a
// name, which can come to mean another image, or by an ID, a digest, which
// cannot.
type Images interface {
	// Pull brings an image from a registry and returns it ready for use. What is
	// there already is not fetched again, and Pulls of the same reference at the
	// same time share one download: each waits for it, and takes it over where the
	// context of the one that was downloading ends. Unknown is NotFound, refused
	// credentials Unauthenticated, forbidden PermissionDenied, too many requests
	// ResourceExhausted, a registry that does not answer Unavailable, a layer
	// that is not what its digest says DataLoss, an image for other platforms
	// only FailedPrecondition. A failed or cancelled Pull leaves no image behind.
	Pull(ctx context.Context, ref string, opts PullOptions) (Image, error)
	// Import reads images from an archive or a disk image. It returns those that
	// the archive names, each once, with all the names that it has then. What is not
	// of its format is InvalidArgument; what ends too early, or is not what its
	// digest says, is that or DataLoss. Where the reader fails, the error wraps the
	// reader's. Where the context ends, so does the call, even if a Read blocks. A
	// failed or cancelled Import leaves no image behind.
	Import(ctx context.Context, source ImageSource, opts ImportOptions) ([]Image, error)
	// Export writes images, by name or ID, to w; they stay as they are. An unknown
	// one is NotFound, and nothing is written. Where the writer fails, the error wraps
	// the writer's. Where the context ends, so does the call, even if a Write blocks.
	Export(ctx context.Context, w io.Writer, names []string, opts ExportOptions) error
	// Get returns the image of a name or ID; NotFound if there is none.
	Get(ctx context.Context, nameOrID string) (Image, error)
	// List yields the images that match, in no particular order.
	List(ctx context.Context, filter ImageFilter) iter.Seq2[Image, error]
	// Delete removes a name, and the image's content with its last name. An ID
	// removes all its names. An image in use by an instance is
	// FailedPrecondition; an unknown one is NotFound.
	Delete(ctx context.Context, nameOrID string, opts DeleteImageOptions) error
}

// Image is what is known of an image. Its lists and maps are shared and must
// not be changed.
type Image struct {
	// Ref has the digest as ID and one of the names as Name: the one that the
	// image was asked for by, or that its archive gave it first.
	Ref resource.Ref
	// Names are the image's names in full, sorted.
	Names []string
	// Platform is what the image was made for.
	Platform Platform
	// Form says what the image's content is.
	Form ImageForm
	// Config is what the image says of the instances made of it.
	Config ImageConfig
	// Size is the number of bytes that the image occupies as it is stored.
	Size    int64
	Created time.Time
	Labels  resource.Labels
}

// ImageForm says what the content of an image is.
type ImageForm string

// The forms of an image.
const (
	// RootFS images are a tree of files, in layers.
	RootFS ImageForm = "rootfs"
	// Disk images are the bytes of a disk.
	Disk ImageForm = "disk"
)

// ImageConfig is what an image says of the instances made of it.
type ImageConfig struct {
	// Entrypoint and Cmd are together the default argument vector; Env, User,
	// Dir and StopSignal are the defaults of the spec's fields of like names.
	Entrypoint []string
	Cmd        []string
	Env        []string
	User       string
	Dir        string
	StopSignal string
	// Ports are the ports that the image says it listens on.
	Ports []string
	// Volumes are the paths that the image wants kept outside of its root.
	Volumes []string
	// Labels are the image's own: any text, unlike resource.Labels.
	Labels map[string]string
}

// Platform is an operating system and a processor, in Go's words.
type Platform struct {
	// OS and Architecture are words such as "linux" and "arm64"; Variant
	// distinguishes processors of one architecture, such as "v7".
	OS           string `json:"os,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	Variant      string `json:"variant,omitempty"`
}

// String returns "os/architecture[/variant]", or "" for the zero value.
func (p Platform) String() string {
	s := p.OS
	for _, part := range []string{p.Architecture, p.Variant} {
		if part != "" {
			s += "/" + part
		}
	}
	return s
}

// Validate reports every fault of the platform: its parts are words. Whether any
// image is for it, the image says.
func (p Platform) Validate() resource.Faults {
	var f resource.Faults
	for _, part := range []struct{ field, word string }{{"os", p.OS}, {"architecture", p.Architecture}, {"variant", p.Variant}} {
		if len(part.word) > 64 || !all(part.word, func(c byte) bool { return isAlphanumeric(c) || c == '_' || c == '.' || c == '-' }) {
			f.Add(part.field, "must have at most 64 letters, digits, '_', '.' and '-'")
		}
	}
	return f
}

// ImageFilter says which images List yields: those that meet every field that
// is not zero.
type ImageFilter struct {
	// Names limits to images that have one of these names, in full or as
	// ParseImageReference completes them.
	Names []string
	// IDs limits to these digests.
	IDs []string
}

// Matches reports whether the filter lets an image through.
func (f ImageFilter) Matches(image Image) bool {
	if len(f.IDs) > 0 && !slices.Contains(f.IDs, image.Ref.ID) {
		return false
	}
	if len(f.Names) == 0 {
		return true
	}
	return slices.ContainsFunc(f.Names, func(name string) bool {
		if r, err := ParseImageReference(name); err == nil && slices.Contains(image.Names, r.String()) {
			return true
		}
		return slices.Contains(image.Names, name)
	})
}

// PullOptions are the options of Pull. The zero value pulls for the provider's
// own platform, without credentials, over TLS but to loopback.
type PullOptions struct {
	// Platform chooses among an image's platforms; the zero value is the
	// provider's own.
	Platform Platform
	// Credentials returns the user and password, or token with an empty user,
	// for a registry; nil asks without.
	Credentials func(ctx context.Context, registry string) (user string, password resource.Secret, err error)
	// Mirrors are registries to ask first, in order, by the registry they mirror.
	Mirrors map[string][]string
	// PlainHTTP lists registries, "host[:port]", that are asked without TLS
	// besides those on loopback.
	PlainHTTP []string
	// Verify, if not nil, is asked before anything is unpacked, with the
	// resolved image; an error from it ends the pull.
	Verify func(ctx context.Context, ref string, digest string) error
	// Progress, if not nil, is called with reports.
	Progress resource.ProgressFunc
}

// Validate reports every fault of the options.
func (o PullOptions) Validate() resource.Faults {
	var f resource.Faults
	f.Under("platform", o.Platform.Validate())
	for _, name := range slices.Sorted(maps.Keys(o.Mirrors)) {
		field := resource.MapField("mirrors", name)
		f.AddReason(field, checkRegistry(name))
		for i, mirror := range o.Mirrors[name] {
			f.AddReason(at(field, i), checkRegistry(mirror))
		}
	}
	for i, host := range o.PlainHTTP {
		f.AddReason(at("plainHTTP", i), checkRegistry(host))
	}
	return f
}

// checkRegistry says what is wrong with a registry's host, or returns "".
func checkRegistry(host string) string {
	if r, err := ParseImageReference(host + "/x"); err != nil || r.Registry != host {
		return "must be a host with a dot or a port, or localhost: " + resource.Quote(host)
	}
	return ""
}

// ImageSource is where Import reads from: a stream of a declared format.
// Nothing is guessed from its content, which is hostile.
type ImageSource struct {
	// Reader is the stream; required.
	Reader io.Reader
	// Format is required.
	Format ImageFormat
	// Size is the number of bytes to come, for progress; 0 means not known.
	Size int64
}

// ImageFormat is the encoding of an image as a stream.
type ImageFormat string

// The formats of an image.
const (
	// OCIArchive is a tar archive of an OCI image layout.
	OCIArchive ImageFormat = "oci-archive"
	// DockerArchive is what "docker save" writes.
	DockerArchive ImageFormat = "docker-archive"
	// QCOW2 and RawDisk are disk images.
	QCOW2   ImageFormat = "qcow2"
	RawDisk ImageFormat = "raw"
)

// Validate reports every fault of the source.
func (s ImageSource) Validate() resource.Faults {
	var f resource.Faults
	if s.Reader == nil {
		f.Add("reader", "is required")
	}
	if s.Format == "" {
		f.Add("format", "is required: nothing is guessed from the content")
	} else {
		f.AddReason("format", checkImageFormat(s.Format))
	}
	if s.Size < 0 {
		f.Add("size", "must not be negative")
	}
	return f
}

// checkImageFormat says what is wrong with a format, or returns "".
func checkImageFormat(format ImageFormat) string {
	switch format {
	case OCIArchive, DockerArchive, QCOW2, RawDisk:
		return ""
	}
	return fmt.Sprintf("must be %q, %q, %q or %q", OCIArchive, DockerArchive, QCOW2, RawDisk)
}

// ImportOptions are the options of Import.
type ImportOptions struct {
	// Name names the image, where the archive holds one image; required for disk
	// images, which name nothing themselves.
	Name string
	// Platform chooses among an image's platforms.
	Platform Platform
	// Verify, if not nil, is asked before anything is unpacked.
	Verify func(ctx context.Context, ref string, digest string) error
	// Progress, if not nil, is called with reports.
	Progress resource.ProgressFunc
}

// Validate reports every fault of the options.
func (o ImportOptions) Validate() resource.Faults {
	var f resource.Faults
	if o.Name != "" {
		switch r, err := ParseImageReference(o.Name); {
		case err != nil:
			f.AddReason("name", resource.FaultsOf(err)[0].Reason)
		case r.Digest != "":
			f.Add("name", "must not have a digest: the content decides on that")
		}
	}
	f.Under("platform", o.Platform.Validate())
	return f
}

// ExportOptions are the options of Export.
type ExportOptions struct {
	// Format is OCIArchive by default, and for a disk image the format that it has.
	Format ImageFormat
	// Platform chooses among an image's platforms; the zero value writes what is
	// there.
	Platform Platform
	// Progress, if not nil, is called with reports.
	Progress resource.ProgressFunc
}

// Validate reports every fault of the options.
func (o ExportOptions) Validate() resource.Faults {
	var f resource.Faults
	if o.Format != "" {
		f.AddReason("format", checkImageFormat(o.Format))
	}
	f.Under("platform", o.Platform.Validate())
	return f
}

// DeleteImageOptions are the options of deleting an image.
type DeleteImageOptions struct {
	// Force also deletes an image that this library did not bring. One in use
	// stays in use.
	Force bool
}
