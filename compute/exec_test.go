package compute_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func TestOutput(t *testing.T) {
	for message, c := range map[string]struct {
		exit           compute.ExecExit
		stdout, stderr string
	}{
		"":                                     {exit: compute.ExecExit{Known: true}, stdout: "out\n"},
		" ":                                    {exit: compute.ExecExit{Known: true}, stdout: "out", stderr: "a warning"},
		`["cmd" "a b"]: exit code 2`:           {exit: compute.ExecExit{Known: true, Code: 2}, stdout: "part"},
		`["cmd" "a b"]: exit code 2: "oh\x1b"`: {exit: compute.ExecExit{Known: true, Code: 2}, stderr: "oh\x1b\n"},
		`["cmd" "a b"]: SIGKILL`:               {exit: compute.ExecExit{Known: true, Code: 137, Signal: "SIGKILL"}},
		`["cmd" "a b"]: exit code not known`:   {exit: compute.ExecExit{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			inst := &reachable{watched: watched{running(compute.Spec{})}}
			inst.exec = func(_ context.Context, spec compute.ExecSpec) (compute.ExecExit, error) {
				assert.Equal(t, compute.Process{Command: []string{"cmd", "a b"}}, spec.Process)
				_, _ = spec.Stdout.Write([]byte(c.stdout))
				_, _ = spec.Stderr.Write([]byte(c.stderr))
				return c.exit, nil
			}
			out, err := compute.Output(t.Context(), wrapped{inst}, "cmd", "a b")
			assert.Equal(t, c.stdout, string(out), "what there is is returned")
			if strings.TrimSpace(message) == "" {
				assert.NoError(t, err)
				return
			}
			var exit *compute.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, c.exit, exit.Exit)
			assert.EqualError(t, err, message)
		})
	}
}

func TestOutputKeepsTheEndOfStandardError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all bytes.Buffer
		inst := &reachable{watched: watched{running(compute.Spec{})}}
		inst.exec = func(_ context.Context, spec compute.ExecSpec) (compute.ExecExit, error) {
			for i := range 10_000 {
				line := fmt.Appendf(nil, "line %d\n", i)
				all.Write(line)
				n, err := spec.Stderr.Write(line)
				require.NoError(t, err)
				require.Equal(t, len(line), n)
			}
			return compute.ExecExit{Known: true, Code: 1}, nil
		}
		_, err := compute.Output(t.Context(), inst, "cmd")
		var exit *compute.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, all.Bytes()[all.Len()-4096:], exit.Stderr)
		assert.Less(t, cap(exit.Stderr), 64<<10)

		inst.exec = func(_ context.Context, spec compute.ExecSpec) (compute.ExecExit, error) {
			_, _ = spec.Stderr.Write(all.Bytes())
			_, _ = spec.Stderr.Write(nil)
			return compute.ExecExit{Known: true, Code: 1}, nil
		}
		_, err = compute.Output(t.Context(), inst, "cmd")
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, all.Bytes()[all.Len()-4096:], exit.Stderr, "in one piece")
	})
}

func TestOutputEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inst := &reachable{watched: watched{running(compute.Spec{})}, killed: make(chan string, 1)}
		inst.exec = func(ctx context.Context, spec compute.ExecSpec) (compute.ExecExit, error) {
			for {
				_, _ = spec.Stdout.Write([]byte("y\n"))
				select {
				case <-ctx.Done():
					return compute.ExecExit{}, nil
				case <-time.After(time.Millisecond):
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := compute.Output(ctx, inst, "yes")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Nil(t, out, "what is still written to cannot be returned")
		assert.Equal(t, "SIGKILL", <-inst.killed, "the command does not outlive the interest in it")
	})
}

func TestOutputOfWhatCannotStart(t *testing.T) {
	_, err := compute.Output(t.Context(), wrapped{running(compute.Spec{})}, "cmd")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = compute.Output(t.Context(), refusing{running(compute.Spec{})}, "cmd")
	assert.True(t, errdefs.IsUnavailable(err))
}

// refusing is an instance in which nothing can be started.
type refusing struct{ *machine }

func (refusing) Exec(context.Context, compute.ExecSpec) (compute.Execution, error) {
	return nil, errdefs.ErrUnavailable
}
