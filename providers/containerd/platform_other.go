//go:build !linux

package containerd

import (
	"context"
	"errors"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
)

type lockMode int

const (
	shared lockMode = iota
	exclusive
)

type fileLock struct{}

func lockFile(context.Context, string, lockMode) (*fileLock, error) {
	return nil, errors.ErrUnsupported
}
func isLocked(string) (bool, error) { return false, errors.ErrUnsupported }
func (*fileLock) release()          {}
func (*fileLock) remove()           {}

const supported = false

type host struct {
	unified, swap bool
	files         uint64
	capabilities  []string
	devices       func() ([]specs.LinuxDevice, error)
	seccomp       func(*specs.Spec) *specs.LinuxSeccomp
}

func readHost() host { return host{} }

func openIn(string, string) (*os.File, error) { return nil, errors.ErrUnsupported }
func kernelRelease() string                   { return "" }
