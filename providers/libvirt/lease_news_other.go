//go:build !linux

package libvirt

import (
	"errors"
	"io"
)

func watchFolder(string) (io.ReadCloser, error) { return nil, errors.ErrUnsupported }
