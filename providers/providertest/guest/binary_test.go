package guest_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/univirt/univirt/providers/providertest/guest"
	testimage "github.com/univirt/univirt/providers/providertest/image"

	"github.com/stretchr/testify/require"
)

var binary struct {
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binary.path != "" {
		os.RemoveAll(filepath.Dir(binary.path))
	}
	os.Exit(code)
}

// binaryPath returns the program as it stands in the test image.
func binaryPath(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the binary runs on Linux only")
	}
	binary.once.Do(func() {
		var program []byte
		if program, binary.err = testimage.Binary(t.Context(), runtime.GOARCH); binary.err != nil {
			return
		}
		var dir string
		if dir, binary.err = os.MkdirTemp("", "guest"); binary.err != nil {
			return
		}
		binary.path = filepath.Join(dir, "guest")
		binary.err = os.WriteFile(binary.path, program, 0o755)
	})
	require.NoError(t, binary.err)
	return binary.path
}

// asBinary is a program in a process of its own.
type asBinary struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	done           chan error
}

func command(t *testing.T, in invocation) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binaryPath(t), in.args[1:]...)
	cmd.Args[0], cmd.Dir, cmd.Stdin = in.args[0], in.dir, in.stdin
	if cmd.Env = in.environ; cmd.Env == nil {
		cmd.Env = []string{}
	}
	if _, err := os.Stat(filepath.Join(in.dir, "sub")); err != nil {
		require.NoError(t, os.WriteFile(filepath.Join(in.dir, "greeting"), []byte("hello\n"), 0o644))
		require.NoError(t, os.Chmod(filepath.Join(in.dir, "greeting"), 0o644), "whatever the umask")
		require.NoError(t, os.Mkdir(filepath.Join(in.dir, "sub"), 0o755))
		require.NoError(t, os.Chmod(filepath.Join(in.dir, "sub"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(in.dir, "sub", "empty"), nil, 0o644))
	}
	return cmd
}

func runBinary(t *testing.T, in invocation) running {
	p := &asBinary{command(t, in), newOutput(), newOutput(), make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.start(t)
	return p
}

func runBinaryWithPipe(t *testing.T, in invocation) (io.Closer, running) {
	p := &asBinary{command(t, in), newOutput(), newOutput(), make(chan error, 1)}
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	p.cmd.Stdout, p.cmd.Stderr = w, p.stderr
	p.start(t)
	require.NoError(t, w.Close())
	_, err = io.CopyN(p.stdout, r, 1000)
	require.NoError(t, err)
	return r, p
}

func (p *asBinary) start(t *testing.T) {
	require.NoError(t, p.cmd.Start())
	go func() {
		err := p.cmd.Wait() // also for children, which hold the pipes
		p.stdout.end()
		p.done <- err
	}()
}

func (p *asBinary) await(t *testing.T, text string) string { return p.stdout.await(t, text) }

func (p *asBinary) signal(t *testing.T, sig guest.Signal) {
	require.NoError(t, p.cmd.Process.Signal(syscall.Signal(sig.Number())))
}

// wait returns death by a signal as container runtimes do, as 128+n.
func (p *asBinary) wait(t *testing.T) outcome {
	err := <-p.done
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	code := p.cmd.ProcessState.ExitCode()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return outcome{code, p.stdout.String(), p.stderr.String()}
}
