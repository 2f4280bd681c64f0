package compute

import (
	"context"
	"io"
	"io/fs"
)

// Filer is an instance whose files can be read and written from outside: while it
// runs, and where FeatureFilesStopped is declared also while it does not. Elsewhere
// every call is Unavailable then, and as long as a guest does not answer.
type Filer interface {
	Instance
	// CopyIn unpacks a tar archive below the directory, which must exist: NotFound
	// otherwise. The archive is hostile: it writes nowhere else, by links neither. One
	// that is damaged is InvalidArgument. Nothing of it is written then, nor where the
	// context ends while it is read: so does the call, even if a Read blocks.
	CopyIn(ctx context.Context, dir string, archive io.Reader, opts CopyOptions) error
	// CopyOut returns a tar archive of a file or directory; names in it begin
	// with the path's last part. A path that is not there is NotFound, which may be
	// said only when the archive is read. It may be closed before its end. The context
	// bounds the whole stream.
	CopyOut(ctx context.Context, path string, opts CopyOptions) (io.ReadCloser, error)
	// Files returns the instance's files for reading. Symbolic links are followed
	// within the instance's root only. The context bounds every use of the
	// result.
	Files(ctx context.Context) (fs.FS, error)
}

// CopyOptions are the options of CopyIn and CopyOut. The zero value keeps
// owners and permissions.
type CopyOptions struct {
	// NoOwner makes root the owner of everything that is written.
	NoOwner bool
}

// CopyIn unpacks a tar archive in an instance; errors.ErrUnsupported where that
// cannot be.
func CopyIn(ctx context.Context, inst Instance, dir string, archive io.Reader, opts CopyOptions) error {
	f, err := extension[Filer](inst, "copy in")
	if err != nil {
		return err
	}
	return f.CopyIn(ctx, dir, archive, opts)
}

// CopyOut returns a tar archive of an instance's files; errors.ErrUnsupported
// where that cannot be.
func CopyOut(ctx context.Context, inst Instance, path string, opts CopyOptions) (io.ReadCloser, error) {
	f, err := extension[Filer](inst, "copy out")
	if err != nil {
		return nil, err
	}
	return f.CopyOut(ctx, path, opts)
}

// Files returns an instance's files for reading; errors.ErrUnsupported where
// that cannot be.
func Files(ctx context.Context, inst Instance) (fs.FS, error) {
	f, err := extension[Filer](inst, "files")
	if err != nil {
		return nil, err
	}
	return f.Files(ctx)
}
