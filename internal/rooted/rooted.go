package rooted

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

var errEscapes = errors.New("leads out of the folder")

// At gives an error of the file system a kind, and names the field whose path it is of.
// Another error is returned as it is.
func At(field string, err error) error {
	var own *resource.Error
	var number syscall.Errno
	if errors.As(err, &own) || !errors.As(err, &number) {
		return err
	}
	return &resource.Error{Kind: kindOf(err), Field: field, Err: err}
}

func kindOf(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errdefs.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		return errdefs.ErrPermissionDenied
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errdefs.ErrResourceExhausted
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EBUSY):
		return errdefs.ErrFailedPrecondition
	}
	return errdefs.ErrInvalidArgument
}
