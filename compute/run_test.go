package compute_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// ends makes runs that end by themselves after a while, with some output.
func ends(after time.Duration, exit compute.Exit) func(*machine) {
	return func(m *machine) {
		m.started = func(m *machine) {
			m.logs = append(lines("out"), compute.LogLine{Stream: compute.Stderr, Text: []byte("err"), Partial: true})
			time.AfterFunc(after, func() { m.exit(exit) })
		}
	}
}

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		opts     compute.RunOptions
		out, err bool
		calls    []string
	}{
		"without output": {calls: []string{"start", "delete (force)"}},
		"with output":    {out: true, err: true, calls: []string{"start", "delete (force)"}},
		"one stream":     {err: true, calls: []string{"start", "delete (force)"}},
		"kept":           {opts: compute.RunOptions{Keep: true}, calls: []string{"start"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				want := compute.Exit{Known: true, Code: 3}
				s := &machines{make: ends(time.Minute, want)}
				var out, err bytes.Buffer
				if c.out {
					c.opts.Stdout = &out
				}
				if c.err {
					c.opts.Stderr = &err
				}
				exit, failure := compute.Run(t.Context(), s, compute.Spec{Name: "web"}, c.opts)
				require.NoError(t, failure, "an exit code is no error")
				want.Run = "run-1"
				assert.Equal(t, want, exit)
				assert.False(t, exit.Success())
				assert.Equal(t, c.calls, s.m.calls)
				assert.Equal(t, map[bool]string{true: "out\n"}[c.out], out.String())
				assert.Equal(t, map[bool]string{true: "err"}[c.err], err.String())
			})
		})
	}
}

func TestRunCleansUp(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		make  func(m *machine)
		opts  compute.RunOptions
		calls []string
		is    []error
	}{
		"the start fails": {
			make:  func(m *machine) { m.fail[compute.OpStart] = broken },
			calls: []string{"start", "delete (force)"}, is: []error{broken},
		},
		"the start fails, kept": {
			make: func(m *machine) { m.fail[compute.OpStart] = broken }, opts: compute.RunOptions{Keep: true},
			calls: []string{"start", "stop", "force"}, is: []error{broken},
		},
		"the output cannot be written": {
			make: ends(time.Minute, compute.Exit{Known: true}), opts: compute.RunOptions{Stdout: &limited{1}},
			calls: []string{"start", "stop", "force", "delete (force)"}, is: []error{io.ErrShortWrite},
		},
		"the deletion fails": {
			make: func(m *machine) {
				ends(time.Minute, compute.Exit{Known: true})(m)
				m.fail[compute.OpDeleteForce] = broken
			},
			calls: []string{"start", "delete (force)"}, is: []error{broken},
		},
		"both fail": {
			make: func(m *machine) {
				m.fail[compute.OpStart], m.fail[compute.OpDeleteForce] = broken, errdefs.ErrUnavailable
			},
			calls: []string{"start", "delete (force)"}, is: []error{broken, errdefs.ErrUnavailable},
		},
		"somebody else deletes it": {
			make: func(m *machine) {
				m.started = func(m *machine) {
					time.AfterFunc(time.Minute, func() { _ = m.Delete(context.Background(), compute.DeleteOptions{Force: true}) })
				}
			},
			calls: []string{"start", "delete (force)", "stop", "delete (force)"}, is: []error{errdefs.ErrNotFound},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &machines{make: c.make}
				_, err := compute.Run(t.Context(), s, compute.Spec{Name: "web"}, c.opts)
				for _, want := range c.is {
					assert.ErrorIs(t, err, want)
				}
				var e *resource.Error
				assert.ErrorAs(t, err, &e)
				if len(c.is) == 1 && c.opts.Stdout == nil {
					assert.IsType(t, e, err, "one error stays what it is")
				}
				assert.Equal(t, c.calls, s.m.calls)
			})
		})
	}
}

func TestRunOfWhatIsGoneAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &machines{make: func(m *machine) {
			m.started = func(m *machine) {
				// It deletes itself when it has ended, as other engines' --rm does.
				time.AfterFunc(time.Minute, func() {
					m.exit(compute.Exit{Known: true})
					_ = m.Delete(context.Background(), compute.DeleteOptions{})
				})
			}
		}}
		exit, err := compute.Run(t.Context(), s, compute.Spec{Name: "web"}, compute.RunOptions{})
		require.NoError(t, err, "gone is gone")
		assert.True(t, exit.Success())
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, opts := range []compute.RunOptions{{}, {Stdout: io.Discard}, {Keep: true}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s := &machines{}
			begun := time.Now()
			exit, err := compute.Run(ctx, s, compute.Spec{Name: "web"}, opts)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.EqualError(t, err, `run instance "web": context deadline exceeded`)
			assert.Equal(t, time.Minute, time.Since(begun))
			assert.Equal(t, compute.Exit{Run: "run-1", Known: true, Code: 143, Signal: "SIGTERM"}, exit, "how it was forced")
			calls := []string{"start", "stop", "force", "delete (force)"}
			if opts.Keep {
				calls = calls[:3]
			}
			assert.Equal(t, calls, s.m.calls)
		})
	}
}

func TestRunWhoseForceFails(t *testing.T) {
	for _, keep := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s := &machines{make: func(m *machine) { m.fail[compute.OpStop] = errdefs.ErrUnavailable }}
			exit, err := compute.Run(ctx, s, compute.Spec{Name: "web"}, compute.RunOptions{Keep: keep})
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Zero(t, exit)
			assert.Equal(t, keep, errors.Is(err, errdefs.ErrUnavailable), "what is deleted needs no stop")
			assert.Equal(t, !keep, s.m.gone)
		})
	}
}

func TestRunWhoseForceHangsDeletesAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s := &machines{make: func(m *machine) { m.hang = compute.OpStop }}
		begun := time.Now()
		_, err := compute.Run(ctx, s, compute.Spec{Name: "web"}, compute.RunOptions{})
		assert.EqualError(t, err, `run instance "web": context deadline exceeded`)
		assert.LessOrEqual(t, time.Since(begun), time.Minute+compute.CleanupTimeout)
		assert.True(t, s.m.gone)
	})
}

func TestRunThatCannotDeleteNamesWhatIsLeft(t *testing.T) {
	broken := errors.New("broken")
	s := &machines{make: func(m *machine) {
		m.fail[compute.OpStart], m.fail[compute.OpDeleteForce] = broken, errdefs.ErrUnavailable
	}}
	_, err := compute.Run(t.Context(), s, compute.Spec{Name: "web"}, compute.RunOptions{})
	e, ok := errors.AsType[*resource.Error](err)
	require.True(t, ok)
	assert.Equal(t, "run", e.Op)
	require.Len(t, e.Left, 1)
	assert.Equal(t, "web", e.Left[0].Name)
	assert.NotEmpty(t, e.Left[0].ID)
}

func TestRunWhoseContextIsDoneCreatesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &machines{}
	_, err := compute.Run(ctx, s, compute.Spec{Name: "web"}, compute.RunOptions{})
	assert.EqualError(t, err, `run instance "web": context canceled`)
	assert.Nil(t, s.m)
}

func TestRunOfWhatCannotBeCreated(t *testing.T) {
	s := &machines{clash: true}
	_, err := compute.Run(t.Context(), s, compute.Spec{Name: "web"}, compute.RunOptions{})
	assert.True(t, errdefs.IsAlreadyExists(err))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s = &machines{}
	_, err = compute.Run(ctx, s, compute.Spec{Name: "web"}, compute.RunOptions{})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Nil(t, s.m)
}

func TestCopyLogs(t *testing.T) {
	m := running(compute.Spec{})
	m.logs = []compute.LogLine{
		{Stream: compute.Stdout, Text: []byte("a")},
		{Stream: compute.Stderr, Text: []byte("b")},
		{Stream: compute.Stdout, Text: []byte{}},
		{Stream: compute.Stdout, Text: []byte("long, first part "), Partial: true},
		{Stream: compute.Stdout, Text: []byte("and second\x00\xff")},
		{Stream: compute.Stdout, Text: []byte("no newline"), Partial: true},
	}
	shared := append(m.logs[0].Text, "keep"...)[:1]
	m.logs[0].Text = shared
	var out, err bytes.Buffer
	require.NoError(t, compute.CopyLogs(t.Context(), wrapped{m}, compute.LogOptions{}, &out, &err))
	assert.Equal(t, "a\n\nlong, first part and second\x00\xff\nno newline", out.String())
	assert.Equal(t, "b\n", err.String())
	assert.Equal(t, "akeep", string(shared[:5]), "a line's memory is the stream's own")

	require.NoError(t, compute.CopyLogs(t.Context(), m, compute.LogOptions{}, nil, nil))
	out.Reset()
	require.NoError(t, compute.CopyLogs(t.Context(), m, compute.LogOptions{Tail: 1}, &out, nil))
	assert.Equal(t, "no newline", out.String())

	failure := compute.CopyLogs(t.Context(), m, compute.LogOptions{}, &limited{5}, nil)
	assert.ErrorIs(t, failure, io.ErrShortWrite)
	assert.EqualError(t, failure, `copy logs instance "`+someID+`": short write`)
	assert.ErrorIs(t, compute.CopyLogs(t.Context(), silent{}, compute.LogOptions{}, &out, nil), errors.ErrUnsupported)
}

func TestRestart(t *testing.T) {
	for _, c := range []struct {
		state compute.State
		calls []string
	}{
		{compute.Running, []string{"stop", "start"}},
		{compute.Paused, []string{"stop", "start"}},
		{compute.Stopped, []string{"stop", "start"}},
		{compute.Suspended, nil},
		{compute.Failed, nil},
		{compute.Unknown, nil},
	} {
		m := running(compute.Spec{})
		m.info.State = c.state
		err := compute.Restart(t.Context(), wrapped{m}, compute.StopOptions{})
		_, allowed := compute.Next(c.state, compute.OpRestart)
		assert.Equal(t, allowed, err == nil, "as the table has it: %v", err)
		assert.Equal(t, c.calls, m.calls)
		if allowed {
			assert.Equal(t, compute.Running, m.info.State)
		} else {
			assert.True(t, errdefs.IsFailedPrecondition(err))
			assert.Equal(t, c.state, m.info.State, "nothing changes")
		}
	}
	m := running(compute.Spec{})
	m.fail[compute.OpStart] = errdefs.ErrUnavailable
	assert.True(t, errdefs.IsUnavailable(compute.Restart(t.Context(), m, compute.StopOptions{Force: true})))
	assert.Equal(t, compute.Stopped, m.info.State, "a failed start leaves it stopped")
	assert.Equal(t, []string{"stop", "force", "start"}, m.calls)
	m.gone = true
	assert.True(t, errdefs.IsNotFound(compute.Restart(t.Context(), m, compute.StopOptions{})))
}

func TestExitSuccess(t *testing.T) {
	assert.True(t, compute.Exit{Known: true}.Success())
	assert.False(t, compute.Exit{}.Success())
	assert.False(t, compute.Exit{Known: true, Code: 1}.Success())
}

func TestRunGivesNoInput(t *testing.T) {
	s := &machines{}
	_, err := compute.Run(t.Context(), s, compute.Spec{Name: "web", Image: "cat", Process: compute.Process{Stdin: true}}, compute.RunOptions{})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	assert.ErrorContains(t, err, "process.stdin")
	assert.Nil(t, s.m, "nothing was created")
}
