//go:build linux

// Package testguest makes the virtual machines that tests of providers boot: a
// kernel of Debian, two initial file systems, and a disk. They come from Debian's
// packages, which are downloaded and unpacked and never installed, and are kept
// in a cache.
//
// The guests say on the console what they do, in whole lines that begin with
// [Prefix]; the commands in the folders init and seed say which, and which kernel
// parameters they understand.
package testguest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// What the guests say on the console. A line ends with what is here, or goes on
// after a space.
const (
	// Prefix begins each line.
	Prefix = "guest: "
	// UserSpace is said first of all.
	UserSpace = Prefix + "userspace"
	// Ready is said when the guest has loaded its modules, applied its seed and
	// started what it runs. An address by DHCP may come later.
	Ready = Prefix + "ready"
	// Address is followed by the name of an interface and its address with the
	// length of the prefix.
	Address = Prefix + "address"
	// Button is said when the power button was pressed.
	Button = Prefix + "power button"
	// End is said last of all when the guest ends itself.
	End = Prefix + "ends"
)

// Parameters make the kernel boot fast where the processor is emulated. They are
// for all guests but the disk, which has them built in.
const Parameters = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off random.trust_cpu=on tsc=reliable" +
	" no_timer_check 8250.nr_uarts=1 cryptomgr.notests"

// Program is where the guests hold the program of package guest of the
// conformance suite, but the minimal one.
const Program = "/bin/guest"

// Guest has the paths of what can be booted. The files must not be changed: a
// disk to write to is an overlay of Disk, or a copy.
type Guest struct {
	// Folder holds all of it.
	Folder string
	// Kernel is the uncompressed kernel, which QEMU boots faster than any other.
	// CompressedKernel is the same as Debian ships it.
	Kernel, CompressedKernel string
	// Initrd is a whole guest in memory, with busybox, qemu-guest-agent and the
	// program of the conformance suite. It is for 256 MiB of memory or more.
	Initrd string
	// MinimalInitrd reaches user space and heeds the power button, and no more.
	// 128 MiB of memory are enough for it.
	MinimalInitrd string
	// Disk is a qcow2 image that a BIOS boots, with what is in Initrd on ext4. It
	// reads the seed of cloud-init from another disk: a virtio one, as Debian's
	// kernel for clouds has no driver for SATA. Kernel and Initrd with the parameter
	// univirt.root=/dev/vda1 start the same in half the time.
	Disk string
}

func at(folder string) Guest {
	return Guest{
		Folder:           folder,
		Kernel:           filepath.Join(folder, "vmlinux"),
		CompressedKernel: filepath.Join(folder, "vmlinuz"),
		Initrd:           filepath.Join(folder, "initrd"),
		MinimalInitrd:    filepath.Join(folder, "initrd-minimal"),
		Disk:             filepath.Join(folder, "disk.qcow2"),
	}
}

// Missing returns the commands that [Build] needs and this machine has not got,
// and an error where there is nothing to build.
func Missing() ([]string, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("there is no test guest for %s", runtime.GOARCH)
	}
	var missing []string
	for _, command := range []string{"apt-get", "apt-cache", "dpkg-deb", "mke2fs", "qemu-img"} {
		if _, err := exec.LookPath(command); err != nil {
			missing = append(missing, command)
		}
	}
	return missing, nil
}

// Build returns the guests, and makes them if no earlier call did. Calls at once,
// of several processes too, make them once; one that is killed leaves nothing
// that another would take for whole.
//
// The cache is /var/cache/univirt/testguest for root, since those that QEMU runs
// as must reach it, and below the user's cache folder for others.
func Build(ctx context.Context) (Guest, error) {
	missing, err := Missing()
	if err != nil {
		return Guest{}, err
	}
	if len(missing) > 0 {
		return Guest{}, fmt.Errorf("commands are missing: %s", strings.Join(missing, ", "))
	}
	root := "/var/cache"
	if os.Geteuid() != 0 {
		if root, err = os.UserCacheDir(); err != nil {
			return Guest{}, err
		}
	}
	return build(ctx, filepath.Join(root, "univirt", "testguest"))
}

func build(ctx context.Context, dir string) (Guest, error) {
	programs, err := compile(ctx)
	if err != nil {
		return Guest{}, err
	}
	g, err := buildOnce(ctx, cache{dir: dir}, programs)
	if errors.Is(err, errDownload) && os.Geteuid() == 0 {
		if err := updateLists(ctx); err != nil {
			return Guest{}, err
		}
		g, err = buildOnce(ctx, cache{dir: dir}, programs)
	}
	if err != nil {
		return Guest{}, fmt.Errorf("make the test guests: %w", err)
	}
	return g, nil
}

func buildOnce(ctx context.Context, c cache, programs programs) (Guest, error) {
	packages, err := c.packages(ctx)
	if err != nil {
		return Guest{}, err
	}
	folder, err := c.folder(ctx, digest(packages, programs), func(into string) error {
		return assemble(ctx, into, packages, programs)
	})
	if err != nil {
		return Guest{}, err
	}
	return at(folder), nil
}
