package guest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/univirt/univirt/providers/providertest/guest"

	"github.com/stretchr/testify/require"
)

const guestPath = "/bin/guest"

// output collects what a program prints, and lets others wait for it.
type output struct {
	mu    sync.Mutex
	grown *sync.Cond
	text  bytes.Buffer
	ended bool
}

func newOutput() *output {
	o := &output{}
	o.grown = sync.NewCond(&o.mu)
	return o
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.grown.Broadcast()
	return o.text.Write(b)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.grown.Broadcast()
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits until the output contains the text, or nothing more can come.
func (o *output) await(t *testing.T, text string) string {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for !strings.Contains(o.text.String(), text) {
		require.False(t, o.ended, "the program has ended, having printed %q", o.text.String())
		o.grown.Wait()
	}
	return o.text.String()
}

// memory is a file tree.
type memory struct {
	mu    sync.Mutex
	files fstest.MapFS
}

var _ guest.Files = (*memory)(nil)

// newMemory returns the tree that the cases expect in a folder.
func newMemory(dir string) *memory {
	at := func(name string) string { return strings.TrimPrefix(path.Join(dir, name), "/") }
	return &memory{files: fstest.MapFS{
		at("greeting"):                     {Data: []byte("hello\n"), Mode: 0o644},
		at("sub"):                          {Mode: fs.ModeDir | 0o755},
		at("sub/empty"):                    {Mode: 0o644},
		"proc/self/cgroup":                 {Data: []byte("0::/\n")},
		"sys/fs/cgroup/cgroup.controllers": {},
		"sys/fs/cgroup/cpu.max":            {Data: []byte("max 100000\n")},
	}}
}

func (m *memory) ReadFile(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files.ReadFile(strings.TrimPrefix(name, "/"))
}

func (m *memory) WriteFile(name string, data []byte, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = strings.TrimPrefix(name, "/")
	if info, err := m.files.Stat(path.Dir(name)); err != nil || !info.IsDir() {
		return &fs.PathError{Op: "write", Path: name, Err: fs.ErrNotExist}
	}
	m.files[name] = &fstest.MapFile{Data: data, Mode: perm}
	return nil
}

func (m *memory) Fill(name string, bytes int64) error {
	return m.WriteFile(name, make([]byte, bytes), 0o644)
}

func (m *memory) Drain(name string) error {
	_, err := m.ReadFile(name)
	return err
}

func (m *memory) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files.ReadDir(strings.TrimPrefix(name, "/"))
}

func (m *memory) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files.Lstat(strings.TrimPrefix(name, "/"))
}

// trees keeps the tree of a folder for all programs that run there.
var trees sync.Map

// inProcess is a program run by guest.Main.
type inProcess struct {
	stdout, stderr *output
	signals        chan guest.Signal
	kill           context.CancelFunc
	done           chan int
	children       sync.WaitGroup
}

func runInProcess(t *testing.T, in invocation) running {
	p := newInProcess(t)
	p.start(t, in, p.stdout)
	return p
}

// runInProcessWithPipe runs a program whose standard output holds only what is
// read from it; the first piece has been read.
func runInProcessWithPipe(t *testing.T, in invocation) (io.Closer, running) {
	p := newInProcess(t)
	r, w := io.Pipe()
	t.Cleanup(func() { r.Close() })
	p.start(t, in, w)
	_, err := io.CopyN(p.stdout, r, 1000)
	require.NoError(t, err)
	return r, p
}

func newInProcess(t *testing.T) *inProcess {
	return &inProcess{
		stdout: newOutput(), stderr: newOutput(),
		signals: make(chan guest.Signal, 8), done: make(chan int, 1),
	}
}

func (p *inProcess) start(t *testing.T, in invocation, stdout io.Writer) {
	ctx, kill := context.WithCancel(t.Context())
	t.Cleanup(kill)
	p.kill = kill
	files, _ := trees.LoadOrStore(in.dir, newMemory(in.dir))
	var dialer net.Dialer
	env := guest.Env{
		Args: in.args, Environ: in.environ, Dir: in.dir,
		User: guest.User{UID: os.Getuid(), GID: os.Getgid()}, PID: 1,
		Stdin: in.stdin, Stdout: stdout, Stderr: p.stderr,
		Signals: p.signals, Files: files.(guest.Files), Disk: files.(guest.Disk), Hostname: os.Hostname,
		Listen: net.Listen, ListenPacket: net.ListenPacket, Dial: dialer.DialContext,
		LookupHost: func(_ context.Context, name string) ([]string, error) {
			switch name {
			case "localhost":
				return []string{"127.0.0.1", "::1", "127.0.0.1"}, nil
			case "192.0.2.1":
				return []string{name}, nil
			}
			return nil, errors.New("no such name")
		},
		Alloc: func(bytes int64) error {
			if bytes > 1<<40 {
				return errors.New("too much")
			}
			return nil
		},
		Hardening: func() (guest.Hardening, error) { return guest.Hardening{}, nil },
	}
	env.Spawn = func(args ...string) error {
		child := env
		child.Args = append([]string{guestPath}, args...)
		child.Signals, child.Stdin = nil, nil
		p.children.Go(func() { guest.Main(t.Context(), child) })
		return nil
	}
	go func() {
		code := guest.Main(ctx, env)
		p.children.Wait()
		p.stdout.end()
		p.done <- code
	}()
}

func (p *inProcess) await(t *testing.T, text string) string { return p.stdout.await(t, text) }

func (p *inProcess) signal(_ *testing.T, sig guest.Signal) {
	if sig == guest.KILL {
		p.kill()
	} else {
		p.signals <- sig
	}
}

func (p *inProcess) wait(*testing.T) outcome {
	code := <-p.done
	return outcome{code, p.stdout.String(), p.stderr.String()}
}
