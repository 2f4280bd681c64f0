package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/univirt/univirt/internal/daemon"
)

// deleteTime bounds the clean-up of one container.
const deleteTime = 30 * time.Second

// writerTime is how long the writer of a log may go on behind its container.
const writerTime = 2 * time.Second

// endContainers ends what outlives the daemon: its shims first, for a living one
// would report and restart nothing but race with the rest, then the containers,
// by the same call with which containerd cleans up after a shim that crashed.
func endContainers(ctx context.Context, l layout) error {
	if err := daemon.EndAll(ctx, 0, func(pid int) bool { return isShim(pid, l.socket()) }); err != nil {
		return fmt.Errorf("shims: %w", err)
	}
	err := eachFolder(l.bundles(), func(namespace string) error {
		return eachFolder(namespace, func(bundle string) error {
			if err := deleteBundle(ctx, l, bundle); err != nil {
				return fmt.Errorf("container %s: %w", filepath.Base(bundle), err)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	// The writers of the containers' logs, which end with what they read from, and
	// must not write into a folder that is being removed.
	if err := daemon.EndAll(ctx, writerTime, func(pid int) bool { return isProgramBelow(pid, l.dir) }); err != nil {
		return fmt.Errorf("programs in the folder: %w", err)
	}
	return nil
}

// eachFolder calls do for every folder in dir, which may be absent. Containerd
// renames a bundle to a name with a dot once it is done with it.
func eachFolder(dir string, do func(path string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := do(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func shims(address string) ([]int, error) {
	return daemon.Processes(func(pid int) bool { return isShim(pid, address) })
}

// isProgramBelow says whether the program of a process lies in a folder, or lay
// there.
func isProgramBelow(pid int, dir string) bool {
	// The kernel tells its real path.
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	program, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	return err == nil && strings.HasPrefix(program, dir+"/")
}

// isShim says whether a process of our user is a shim of the daemon at address.
// Zombies are not, they have no command line.
func isShim(pid int, address string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	info, err := os.Stat(dir)
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
		return false
	}
	data, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return false
	}
	return shimOf(strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), address)
}

// shimOf reads a command line: "containerd-shim-<runtime> ... -address <path>".
func shimOf(argv []string, address string) bool {
	if !strings.HasPrefix(filepath.Base(argv[0]), "containerd-shim") {
		return false
	}
	i := slices.Index(argv, "-address")
	return i > 0 && i+1 < len(argv) && argv[i+1] == address
}

// deleteBundle kills the container of a bundle whose shim is gone, takes its
// mounts down and removes the shim's socket, which lies outside of our folder.
func deleteBundle(ctx context.Context, l layout, dir string) error {
	namespace, id := filepath.Base(filepath.Dir(dir)), filepath.Base(dir)
	program, path, err := shimProgram(dir)
	if err != nil {
		return err
	}
	// The shim writes this file before it mounts or creates anything. Without it
	// there is nothing to end, and shims of 1.6 would fail.
	if _, err := os.Lstat(filepath.Join(dir, "runtime")); errors.Is(err, fs.ErrNotExist) && filepath.Base(program) == shim {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, deleteTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program,
		"-namespace", namespace,
		"-address", l.socket(),
		"-publish-binary", "/bin/true",
		"-id", id,
		"-bundle", dir,
		"delete")
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + path,
		"MAX_SHIM_VERSION=2",
		"GRPC_ADDRESS=" + l.socket(),
		"TTRPC_ADDRESS=" + l.ttrpc(),
		"NAMESPACE=" + namespace,
	}
	cmd.WaitDelay = time.Second
	if _, err := cmd.Output(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %q", err, exit.Stderr)
		}
		return fmt.Errorf("%s delete: %w", program, err)
	}
	socket := shimSocket(dir)
	if socket == "" {
		return nil
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// shimProgram is the shim that made a bundle, which containerd noted in it, and
// the PATH in which it finds its runtime.
func shimProgram(dir string) (program, path string, err error) {
	noted, err := os.ReadFile(filepath.Join(dir, "shim-binary-path"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	folders := daemon.SearchPath(os.Getenv("PATH"))
	if program = string(noted); filepath.IsAbs(program) && daemon.Executable(program) {
		folders = append([]string{filepath.Dir(program)}, folders...)
	} else if program, err = daemon.Look(shim, folders, install); err != nil {
		return "", "", err
	}
	return program, strings.Join(folders, string(filepath.ListSeparator)), nil
}

// shimSocket is the path of a shim's socket, or "". Containerd notes it as JSON
// since 2.0, before that as plain text.
func shimSocket(dir string) string {
	var address string
	if data, err := os.ReadFile(filepath.Join(dir, "bootstrap.json")); err == nil {
		var params struct{ Address string }
		if json.Unmarshal(data, &params) == nil {
			address = params.Address
		}
	} else if data, err := os.ReadFile(filepath.Join(dir, "address")); err == nil {
		address = string(data)
	}
	path, ok := strings.CutPrefix(address, "unix://")
	if info, err := os.Lstat(path); !ok || err != nil || info.Mode().Type() != fs.ModeSocket {
		return ""
	}
	return path
}
