package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/daemon"
	"github.com/univirt/univirt/resource"
)

// extFeatures are what a filesystem has. They are listed so that neither the host's
// configuration nor a newer mke2fs makes what an older guest cannot mount.
const extFeatures = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg," +
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// makeFilesystem makes a filesystem in a file of this host that has no name any more:
// libvirt has no way to do that on the hypervisor's host. It has a copy of what is in the
// folder tree, which is empty for nothing.
func makeFilesystem(ctx context.Context, size int64, uid, gid int, tree string) (_ *os.File, err error) {
	f, err := os.CreateTemp("", "univirt-*.ext4")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name())
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	args := []string{"-q", "-F", "-t", "ext4", "-m", "0", "-O", extFeatures,
		"-E", fmt.Sprintf("root_owner=%d:%d,lazy_itable_init=1,lazy_journal_init=1,nodiscard", uid, gid)}
	if tree != "" {
		args = append(args, "-d", tree)
	}
	err = extTool(ctx, f, "mke2fs", append(args, extFile, strconv.FormatInt(size/resource.KiB, 10)+"k")...)
	return f, err
}

// extFile is how a program for filesystems names the file that it is given.
const extFile = "/dev/fd/3"

// extTool runs one of the programs for ext4 on a file.
func extTool(ctx context.Context, f *os.File, name string, args ...string) error {
	program, err := daemon.Look(name, daemon.SearchPath(os.Getenv("PATH")), "install e2fsprogs")
	if err != nil {
		return resource.Unsupported("filesystem volumes", "there is no "+name+" on this host, which package e2fsprogs has")
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = []string{"MKE2FS_CONFIG=" + os.DevNull, "LC_ALL=C"}
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return resource.Errorf(errdefs.ErrFailedPrecondition, "%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(said.String()))
	}
	return nil
}

// mended reports whether an error of e2fsck says that it found faults and mended them.
func mended(err error) bool {
	var ended *exec.ExitError
	return errors.As(err, &ended) && ended.ExitCode() == 1
}

// mostGap is how long a hole may be that is written as zeros: each is a stream more.
const mostGap = 32 << 10

// partsOf reads a file in parts until stop, behind which it may be closed.
func partsOf(ctx context.Context, f *os.File) (parts <-chan part, stop func()) {
	reading, cancel := context.WithCancel(ctx)
	out, over := make(chan part, 4), make(chan struct{})
	go func() {
		defer close(over)
		readFile(reading, f, out)
	}()
	return out, func() { cancel(); <-over }
}

// readFile reads a file in parts until the context ends: what holds data, and holes.
func readFile(ctx context.Context, f *os.File, parts chan<- part) {
	give := func(p part) bool {
		select {
		case parts <- p:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var at int64
	for {
		next, hole, err := nextData(f, at)
		if err != nil {
			give(part{err: err})
			return
		}
		if next-at >= mostGap {
			if !give(part{hole: next - at}) {
				return
			}
			at = next
		}
		data := make([]byte, min(streamChunk, max(hole-at, 1)))
		n, err := f.ReadAt(data, at)
		if n > 0 && !give(part{data: data[:n]}) {
			return
		}
		at += int64(n)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				err = fmt.Errorf("read: %w", err)
			}
			give(part{err: err})
			return
		}
	}
}
