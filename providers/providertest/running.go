package providertest

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/providertest/guest"
	"github.com/univirt/univirt/resource"
)

func runCases() []testCase {
	runs := has(compute.FeatureLogs, compute.FeatureExitCode)
	return []testCase{
		{"Run returns the exit and the whole output, and deletes the instance", runs, runOutput},
		{"An exit code other than 0 is no error of Run", runs, runFails},
		{"Run loses nothing of a large output", runs, runFlood},
		{"Run keeps the instance where that is asked for", runs, runKeep},
		{"Run that is cancelled ends the run, tells how, and deletes the instance", runs, runCancelled},
		{"Run whose start fails deletes the instance", nil, runStartFails},
		{"Run of a name that exists leaves what is there alone", nil, runNameTaken},
	}
}

func runOutput(e *env) {
	var stdout, stderr bytes.Buffer
	exit, err := compute.Run(e.ctx, e.instances(), e.spec("job", "both", "3"), compute.RunOptions{Stdout: &stdout, Stderr: &stderr})
	require.NoError(e, err)
	require.True(e, exit.Success(), "%+v", exit)
	if e.offers(compute.FeatureLogsSplit) {
		require.Equal(e, "out 1\nout 2\nout 3\n", stdout.String())
		require.Equal(e, "err 1\nerr 2\nerr 3\n", stderr.String())
	}
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func runFails(e *env) {
	exit, err := compute.Run(e.ctx, e.instances(), e.spec("job", "exit", "17"), compute.RunOptions{})
	require.NoError(e, err)
	require.Equal(e, 17, exit.Code)
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func runFlood(e *env) {
	const size = 1 << 20
	var stdout bytes.Buffer
	exit, err := compute.Run(e.ctx, e.instances(), e.spec("job", "flood", "1048576"), compute.RunOptions{Stdout: &stdout})
	require.NoError(e, err)
	require.Zero(e, exit.Code)
	e.flooded("stdout", size, stdout.Bytes())
}

// flooded requires output to be what the program "flood" writes.
func (e *env) flooded(stream string, size int64, got []byte) {
	e.Helper()
	want, err := io.ReadAll(guest.Flood(stream, size))
	require.NoError(e, err)
	require.Equal(e, len(want), len(got), "the number of bytes of %s", stream)
	if !bytes.Equal(want, got) {
		at := 0
		for want[at] == got[at] {
			at++
		}
		require.Fail(e, "the output differs", "at byte %d of %s", at, stream)
	}
}

func runKeep(e *env) {
	exit, err := compute.Run(e.ctx, e.instances(), e.spec("job", "exit", "4"), compute.RunOptions{Keep: true})
	require.NoError(e, err)
	require.Equal(e, 4, exit.Code)
	inst, err := e.instances().Get(e.ctx, "job")
	require.NoError(e, err)
	info := e.awaitState(inst, compute.Stopped)
	require.Equal(e, 4, info.Exit.Code)
}

// readyWriter closes a channel when something is written to it.
type readyWriter struct {
	buffer
	ready chan struct{}
}

func (w *readyWriter) Write(p []byte) (int, error) {
	if w.ready != nil {
		close(w.ready)
		w.ready = nil
	}
	return w.buffer.Write(p)
}

func runCancelled(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	ready := make(chan struct{})
	out := &readyWriter{ready: ready}
	done := make(chan error, 1)
	var exit compute.Exit
	go func() {
		var err error
		exit, err = compute.Run(ctx, e.instances(), e.spec("job", "ignore"), compute.RunOptions{Stdout: out})
		done <- err
	}()
	require.NoError(e, e.returns("the first output", func() error { <-ready; return nil }))
	cancel()
	err := e.returns("a cancelled Run", func() error { return <-done })
	require.ErrorIs(e, err, context.Canceled)
	var re *resource.Error
	require.ErrorAs(e, err, &re)
	require.Equal(e, "run", re.Op)
	require.Equal(e, "job", re.Ref.Name)
	require.True(e, exit.Known)
	require.Equal(e, 137, exit.Code)
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func runStartFails(e *env) {
	spec := e.spec("job")
	spec.Process.Command = []string{"/bin/no-such-program"}
	_, err := compute.Run(e.ctx, e.instances(), spec, compute.RunOptions{})
	require.ErrorIs(e, err, errdefs.ErrInvalidArgument)
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func runNameTaken(e *env) {
	inst := e.running("job")
	_, err := compute.Run(e.ctx, e.instances(), e.spec("job", "exit", "0"), compute.RunOptions{})
	require.True(e, errors.Is(err, errdefs.ErrAlreadyExists), "%v", err)
	e.inState(inst, compute.Running)
}
