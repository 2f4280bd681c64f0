//go:build !linux

package rooted

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
)

// Root is a directory below which files are read and written, of which there is none on
// this system.
type Root struct{}

// New returns no use on this system.
func New(*os.File) *Root { return &Root{} }

// Close does nothing.
func (*Root) Close() error { return nil }

// Open is unsupported.
func (*Root) Open(context.Context, string) (fs.File, error) { return nil, errors.ErrUnsupported }

// Find is unsupported.
func (*Root) Find(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// Pack is unsupported.
func Pack(context.Context, io.Writer, *os.File, string, bool) error { return errors.ErrUnsupported }

// Unpack is unsupported.
func (*Root) Unpack(context.Context, string, io.Reader, bool) error { return errors.ErrUnsupported }
