//go:build !linux

package hostnet

import "github.com/univirt/univirt/resource"

func openKernel(*Host, Options) (kernel, error) {
	return nil, resource.Unsupported("a network of the host", "needs Linux")
}
