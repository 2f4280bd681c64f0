//go:build !linux

package libvirt

import (
	"archive/tar"
	"io"

	"github.com/univirt/univirt/resource"
)

// unpackTree says that archives are unpacked on Linux only.
func unpackTree(io.Reader, string, int64) (*tar.Header, error) {
	return nil, resource.Unsupported("import", "an archive is unpacked on Linux only")
}
