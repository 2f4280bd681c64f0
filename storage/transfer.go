package storage

import (
	"context"
	"io"

	"github.com/univirt/univirt/resource"
)

// Format is the encoding of a volume's content as a stream.
type Format string

// The formats of a stream.
const (
	// Tar is the format of Filesystem volumes: a POSIX (pax) archive.
	Tar Format = "tar"
	// Raw is a Block volume's bytes.
	Raw Format = "raw"
)

// Transferer is a volume whose content can be read and replaced as a stream.
type Transferer interface {
	Volume
	// Export writes the volume's content to w. The volume may be in use: what a
	// running instance has not written to it so far is left out.
	Export(ctx context.Context, w io.Writer, opts TransferOptions) error
	// Import replaces the volume's content by what r holds. The stream is
	// hostile: an archive cannot write outside the volume. A volume in use by a
	// running instance is FailedPrecondition; an instance that does not run may have
	// it. A failed Import leaves the volume empty or as it was, never half filled.
	Import(ctx context.Context, r io.Reader, opts TransferOptions) error
}

// TransferOptions are the options of Export and Import.
type TransferOptions struct {
	// Format is required: Tar for Filesystem volumes, Raw for Block ones.
	// Nothing is guessed from the content.
	Format Format
	// Size is the number of bytes to come, for progress; 0 means not known.
	Size int64
	// Progress, if not nil, is called with reports.
	Progress resource.ProgressFunc
}

// Validate reports every fault of the options.
func (o TransferOptions) Validate() resource.Faults {
	var faults resource.Faults
	if o.Format != Tar && o.Format != Raw {
		faults.Add("format", "must be %q or %q", Tar, Raw)
	}
	if o.Size < 0 {
		faults.Add("size", "must not be negative")
	}
	return faults
}

// Export writes a volume's content to w; errors.ErrUnsupported where the
// volume cannot.
func Export(ctx context.Context, v Volume, w io.Writer, opts TransferOptions) error {
	t, ok := resource.As[Transferer](v)
	if !ok {
		return resource.Fail("export", volumeRef(v), resource.Unsupported("transfer", ""))
	}
	return t.Export(ctx, w, opts)
}

// Import replaces a volume's content by what r holds; errors.ErrUnsupported
// where the volume cannot.
func Import(ctx context.Context, v Volume, r io.Reader, opts TransferOptions) error {
	t, ok := resource.As[Transferer](v)
	if !ok {
		return resource.Fail("import", volumeRef(v), resource.Unsupported("transfer", ""))
	}
	return t.Import(ctx, r, opts)
}
