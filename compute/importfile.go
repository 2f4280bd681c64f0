package compute

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// ImportFile imports images from a file of a declared format, such as what
// "docker save -o" writes, where no registry can be reached: it is Import with
// the file as the source. A file that is not there is NotFound, one that may not
// be read PermissionDenied, and what is no regular file InvalidArgument, each
// with the field "path"; errors.Is finds the cause of package io/fs too.
func ImportFile(ctx context.Context, images Images, path string, format ImageFormat, opts ImportOptions) ([]Image, error) {
	file, size, err := openRegular(path)
	if err != nil {
		return nil, resource.Fail("import", resource.Ref{Kind: resource.KindImage, Name: opts.Name}, err)
	}
	defer file.Close()
	return images.Import(ctx, ImageSource{Reader: file, Format: format, Size: size}, opts)
}

func openRegular(path string) (*os.File, int64, error) {
	// Opening a named pipe would wait for a writer, whatever the context says.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, 0, resource.Faults{{Field: "path", Reason: "must be a regular file: " + resource.Quote(path)}}
	}
	var file *os.File
	if err == nil {
		file, err = os.Open(path)
	}
	if err != nil {
		return nil, 0, &resource.Error{Kind: fileKind(err), Field: "path", Err: err}
	}
	return file, info.Size(), nil
}

// fileKind is the kind of an error of the file system, or nil.
func fileKind(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errdefs.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		return errdefs.ErrPermissionDenied
	}
	return nil
}
