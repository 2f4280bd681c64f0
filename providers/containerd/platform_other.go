//go:build !linux

package containerd

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
)

const supported = false

type host struct {
	unified, swap bool
	files         uint64
	capabilities  []string
	apparmor      string
	cdi           []string
	devices       func() ([]specs.LinuxDevice, error)
	seccomp       func(*specs.Spec) *specs.LinuxSeccomp
}

func readHost() host { return host{} }

func loadAppArmor() (string, error) { return "", nil }

func openIn(string, string) (*os.File, error) { return nil, errors.ErrUnsupported }
func kernelRelease() string                   { return "" }

func nameless(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func rootOfProcess(int, func(int) bool) (*os.File, error) { return nil, errors.ErrUnsupported }

func addDevices(_ *specs.Spec, devices []compute.Device, _ []string) error {
	if len(devices) > 0 {
		return errors.ErrUnsupported
	}
	return nil
}

func networkOfProcess(int, func(int) bool) (*os.File, *os.File, error) {
	return nil, nil, errors.ErrUnsupported
}

func mountApart([]mount.Mount, string, bool) (*os.File, error) { return nil, errors.ErrUnsupported }

type execIO struct{}

const (
	stdinFIFO  = "0"
	stdoutFIFO = "1"
	stderrFIFO = "2"
)

func (*Provider) openExecIO(string, compute.ExecSpec) (*execIO, error) {
	return nil, errors.ErrUnsupported
}
func (*execIO) path(string) string                                 { return "" }
func (*execIO) begin(func())                                       {}
func (*execIO) drain(context.Context, time.Duration) (bool, error) { return false, nil }
func (*execIO) await()                                             {}
func (*execIO) close()                                             {}

func hostMemory(*univirt.Capacity)       {}
func hostDisk(string, *univirt.Capacity) {}
