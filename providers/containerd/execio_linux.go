package containerd

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/compute"
)

// execIO is the streams of an execution: named pipes in a folder of their own,
// which the shim opens by their paths.
type execIO struct {
	dir    string
	stdin  io.Reader
	input  *os.File // nil: no input
	output []*outputStream
	// spare are the other ends. Until the shim has opened its ends they keep the
	// pipes from looking ended, and an input from having nobody who reads it.
	spare []*os.File
	// copying counts the outputs that are being copied; copied is closed after the
	// last.
	copying atomic.Int32
	copied  chan struct{}
	ended   atomic.Bool
	drained time.Duration
	closing sync.Once
}

type outputStream struct {
	file *os.File
	to   io.Writer
	cut  bool
	err  error
}

const (
	stdinFIFO  = "0"
	stdoutFIFO = "1"
	stderrFIFO = "2"
)

// openExecIO makes the pipes. Output that nobody wants is read all the same: the
// process must not stand still.
func (p *Provider) openExecIO(id string, spec compute.ExecSpec) (_ *execIO, err error) {
	x := &execIO{dir: filepath.Join(p.state.fifos(), p.owner.Generation, id), stdin: spec.Stdin, copied: make(chan struct{})}
	if err := os.MkdirAll(x.dir, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			x.close()
		}
	}()
	streams := []struct {
		name string
		to   io.Writer
	}{{stdoutFIFO, spec.Stdout}, {stderrFIFO, spec.Stderr}}
	if spec.Process.TTY {
		streams = streams[:1]
	}
	for _, s := range streams {
		f, err := x.pipe(s.name, unix.O_RDONLY, unix.O_WRONLY)
		if err != nil {
			return nil, err
		}
		to := s.to
		if to == nil {
			to = io.Discard
		}
		x.output = append(x.output, &outputStream{file: f, to: to})
	}
	if spec.Stdin != nil {
		if x.input, err = x.pipe(stdinFIFO, unix.O_WRONLY, unix.O_RDONLY); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// pipe makes a named pipe and opens our end; the other end is kept as a spare.
func (x *execIO) pipe(name string, ours, other int) (*os.File, error) {
	path := filepath.Join(x.dir, name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	// Only a reader can be opened while nobody has the other end.
	open := func(mode int) (*os.File, error) {
		return os.OpenFile(path, mode|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	}
	order := []int{ours, other}
	if ours == unix.O_WRONLY {
		order = []int{other, ours}
	}
	files := make(map[int]*os.File)
	for _, mode := range order {
		f, err := open(mode)
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, err
		}
		files[mode] = f
	}
	x.spare = append(x.spare, files[other])
	return files[ours], nil
}

// path is what the shim is told of a stream; empty where there is none.
func (x *execIO) path(name string) string {
	switch {
	case name == stdinFIFO && x.input == nil, name == stderrFIFO && len(x.output) < 2:
		return ""
	}
	return filepath.Join(x.dir, name)
}

// begin copies the streams, now that the shim has opened its ends. The function
// is called at the end of the input.
func (x *execIO) begin(inputEnds func()) {
	x.closeSpare()
	x.copying.Store(int32(len(x.output)))
	for _, o := range x.output {
		go func() {
			x.copyOut(o)
			if x.copying.Add(-1) == 0 {
				close(x.copied)
			}
		}()
	}
	if x.input != nil {
		// It is not waited for: a read of the caller's may never end.
		go func() {
			_, err := io.Copy(x.input, x.stdin)
			_ = x.input.Close()
			if !errors.Is(err, unix.EPIPE) && !errors.Is(err, os.ErrClosed) {
				inputEnds()
			}
		}()
	}
}

// copyOut copies until the stream ends. Once the process has ended it may take
// no longer than the drain until something comes.
func (x *execIO) copyOut(o *outputStream) {
	buf := make([]byte, 64<<10) // as much as a pipe holds
	for {
		if x.ended.Load() {
			_ = o.file.SetReadDeadline(time.Now().Add(x.drained))
		}
		n, err := o.file.Read(buf)
		if n > 0 && o.err == nil {
			// After an error the rest is thrown away.
			_, o.err = o.to.Write(buf[:n])
		}
		if err != nil {
			o.cut = errors.Is(err, os.ErrDeadlineExceeded)
			return
		}
	}
}

// drain waits for the rest of the output after the process's end. It reports
// whether a child still held the output, and an error of the caller's writers. When
// the provider is closed it waits for nobody.
func (x *execIO) drain(ctx context.Context, quiet time.Duration) (cut bool, err error) {
	x.drained = quiet
	x.ended.Store(true)
	for _, o := range x.output {
		_ = o.file.SetReadDeadline(time.Now().Add(quiet))
	}
	select {
	case <-x.copied:
	case <-ctx.Done(): // the provider is closed
		return false, errClosed()
	}
	for _, o := range x.output {
		cut = cut || o.cut
		err = errors.Join(err, o.err)
	}
	return cut, err
}

// await returns when the caller's writers are used no more.
func (x *execIO) await() { <-x.copied }

func (x *execIO) closeSpare() {
	for _, f := range x.spare {
		_ = f.Close()
	}
	x.spare = nil
}

// close ends all streams and removes them.
func (x *execIO) close() {
	x.closing.Do(func() {
		x.closeSpare()
		if x.input != nil {
			_ = x.input.Close()
		}
		for _, o := range x.output {
			_ = o.file.Close()
		}
		_ = os.RemoveAll(x.dir)
	})
}
