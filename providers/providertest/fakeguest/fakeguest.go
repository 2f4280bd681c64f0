// Package fakeguest runs the programs of package guest in instances of the fake,
// so that the conformance suite sees the same there as in a real container.
package fakeguest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/providers/providertest/guest"
	"github.com/univirt/univirt/resource"
)

// Program returns the guest program. It is registered under its path, or under
// "guest":
//
//	fake.Options{Programs: map[string]fake.Program{"/bin/guest": fakeguest.Program()}}
func Program() fake.Program {
	return func(ctx context.Context, p *fake.Process) int {
		signals, stop := translate(p)
		defer stop()
		env := guest.Env{
			Args:     p.Args,
			Environ:  p.Env,
			Dir:      p.Dir,
			User:     guest.User{UID: p.User.UID, GID: p.User.GID, Groups: p.User.Groups},
			PID:      p.PID,
			Stdin:    p.Stdin,
			Stdout:   p.Stdout,
			Stderr:   p.Stderr,
			TTY:      [3]bool{p.TTY, p.TTY, p.TTY},
			Signals:  signals,
			Files:    files{p.Files(), p},
			Disk:     disk{p.Files()},
			Hostname: func() (string, error) { return p.Hostname(), nil },
			Listen:   p.Listen,
			Dial:     p.Dial,
			LookupHost: func(ctx context.Context, host string) ([]string, error) {
				found, err := p.LookupHost(ctx, host)
				names := make([]string, len(found))
				for n, a := range found {
					names[n] = a.String()
				}
				return names, err
			},
			Alloc: p.Alloc,
			Spin:  p.Spin,
			Spawn: func(args ...string) error {
				return p.Spawn(append([]string{p.Args[0]}, args...)...)
			},
			Limits: func() (guest.Limits, error) {
				l := p.Limits()
				return guest.Limits{Memory: l.Memory, CPUs: l.CPUs, PIDs: l.PIDs}, nil
			},
			Hardening: func() (guest.Hardening, error) { return hardening(p), nil },
		}
		if p.TTY {
			env.Size = func() (columns, rows int) {
				size := p.TerminalSize()
				return int(size.Width), int(size.Height)
			}
		}
		return guest.Main(ctx, env)
	}
}

// translate passes the process's signals on by the names that package guest has.
func translate(p *fake.Process) (signals <-chan guest.Signal, stop func()) {
	from, to := p.Signals(), make(chan guest.Signal)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			var signal string
			select {
			case signal = <-from:
			case <-ctx.Done():
				return
			}
			select {
			case to <- guest.Signal(strings.TrimPrefix(signal, "SIG")):
			case <-ctx.Done():
				return
			}
		}
	}()
	return to, func() { cancel(); <-done }
}

// files is the process's file tree, with what a kernel would say of its machine.
type files struct {
	*fake.Tree
	process *fake.Process
}

var _ guest.Files = files{}

func (f files) ReadFile(path string) ([]byte, error) {
	switch limits := f.process.Limits(); path {
	case "/proc/cpuinfo":
		return []byte(strings.Repeat("processor\t: 0\n\n", max(1, int(limits.CPUs)))), nil
	case "/proc/meminfo":
		return fmt.Appendf(nil, "MemTotal: %d kB\n", limits.Memory/resource.KiB), nil
	}
	return f.Tree.ReadFile(path)
}

// disk is below the same tree: the fake keeps everything in memory.
type disk struct{ tree *fake.Tree }

var _ guest.Disk = disk{}

func (d disk) Fill(path string, bytes int64) error {
	f, err := d.tree.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, guest.Flood("stdout", bytes))
	return errors.Join(err, f.Close())
}

func (d disk) Drain(path string) error {
	_, err := d.tree.ReadFile(path)
	return err
}

// Stat does not follow a symbolic link at the end of the path.
func (f files) Stat(path string) (fs.FileInfo, error) { return f.Lstat(path) }
