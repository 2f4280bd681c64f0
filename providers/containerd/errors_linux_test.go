package containerd

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestTranslate(t *testing.T) {
	ctx := t.Context()
	require.NoError(t, translate(ctx, nil))
	for name, c := range map[string]struct{ err, want error }{
		"raw not found":              {status.Error(codes.NotFound, "x"), errdefs.ErrNotFound},
		"raw unavailable":            {status.Error(codes.Unavailable, "x"), errdefs.ErrUnavailable},
		"unimplemented":              {status.Error(codes.Unimplemented, "x"), errors.ErrUnsupported},
		"out of range":               {status.Error(codes.OutOfRange, "x"), errdefs.ErrInvalidArgument},
		"the daemon gave up":         {status.Error(codes.Canceled, "x"), errdefs.ErrUnavailable},
		"the daemon ran out of time": {status.Error(codes.DeadlineExceeded, "x"), errdefs.ErrUnavailable},
		"ours":                       {resource.Errorf(errdefs.ErrDataLoss, "x"), errdefs.ErrDataLoss},
		"disk full":                  {errors.New("write /x: no space left on device"), errdefs.ErrResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			err := translate(ctx, c.err)
			require.ErrorIs(t, err, c.want)
			assert.False(t, errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
		})
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, translate(over, errors.New("x")), context.Canceled)
	closed, cancelCause := context.WithCancelCause(ctx)
	cancelCause(resource.ErrClosed)
	require.ErrorIs(t, translate(closed, errors.New("x")), resource.ErrClosed)
}

// TestErrorTexts provokes, for real, each message that is told by its text.
func TestErrorTexts(t *testing.T) {
	t.Parallel()
	p := openGuest(t, Options{})
	edit := func(change func(*specs.Spec)) compute.Natives {
		return compute.Natives{SpecEdit{Version: "1", Edit: func(s *specs.Spec) error { change(s); return nil }}}
	}
	for name, c := range map[string]struct {
		change func(*compute.Spec)
		kind   error
		field  string
	}{
		"no such program":         {func(s *compute.Spec) { s.Process.Command = []string{"/none"} }, errdefs.ErrInvalidArgument, "process.command"},
		"no such name":            {func(s *compute.Spec) { s.Process.Command = []string{"none"} }, errdefs.ErrInvalidArgument, "process.command"},
		"a name too long":         {func(s *compute.Spec) { s.Process.Command = []string{"/" + strings.Repeat("x", 300)} }, errdefs.ErrInvalidArgument, "process.command"},
		"not executable":          {func(s *compute.Spec) { s.Process.Command = []string{"/etc/passwd"} }, errdefs.ErrInvalidArgument, "process.command"},
		"a folder":                {func(s *compute.Spec) { s.Process.Command = []string{"/etc"} }, errdefs.ErrInvalidArgument, "process.command"},
		"a folder that is a file": {func(s *compute.Spec) { s.Process.Dir = "/etc/passwd" }, errdefs.ErrInvalidArgument, "process.dir"},
		"too little memory": {func(s *compute.Spec) {
			s.Native = edit(func(s *specs.Spec) { n := int64(1024); s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &n} })
		}, errdefs.ErrInvalidArgument, "resources.memory"},
		"no such processor": {func(s *compute.Spec) { s.Resources.CPUSet = "60000" }, errdefs.ErrInvalidArgument, "resources.cpuSet"},
		"a mount without source": {func(s *compute.Spec) {
			s.Native = edit(func(s *specs.Spec) {
				s.Mounts = append(s.Mounts, specs.Mount{Type: "bind", Source: "/none", Destination: "/x", Options: []string{"rbind"}})
			})
		}, errdefs.ErrInvalidArgument, "mounts"},
		"a limit beyond ours": {func(s *compute.Spec) {
			s.RLimits = map[string]compute.RLimit{"nofile": {Soft: math.MaxInt64 - 1, Hard: math.MaxInt64 - 1}}
		}, errdefs.ErrInvalidArgument, "rlimits"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := guestSpec("a", "sleep", "1h")
			c.change(&spec)
			inst := create(t, p, spec)
			defer func() { require.NoError(t, inst.Delete(context.Background(), compute.DeleteOptions{Force: true})) }()
			err := inst.Start(t.Context(), compute.StartOptions{})
			t.Log(err)
			field(t, err, c.kind, c.field)
			i := info(t, inst)
			assert.Equal(t, compute.Stopped, i.State)
			assert.Empty(t, i.Run)
			left, err := processes("-namespace\x00" + p.space + "\x00")
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

// TestTaskOfARun provokes what containerd says where a task is in the way.
func TestTaskOfARun(t *testing.T) {
	p := openGuest(t, Options{})
	inst := start(t, p, guestSpec("a", "sleep", "1h"))
	ctx := p.dress(t.Context())
	require.ErrorIs(t, p.deleteTask(ctx, inst.ID()), errdefs.ErrFailedPrecondition)
	require.NoError(t, compute.Pause(ctx, inst))
	require.ErrorIs(t, p.deleteTask(ctx, inst.ID()), errdefs.ErrFailedPrecondition)
	require.NoError(t, compute.Resume(ctx, inst))
	// The folder of a task whose deletion has not ended yet.
	k, err := p.loadContainer(ctx, create(t, p, guestSpec("b", "sleep", "1h")).ID())
	require.NoError(t, err)
	folder := filepath.Join(common.dir, "d", "state", "io.containerd.runtime.v2.task", p.space, k.container.ID)
	require.NoError(t, os.MkdirAll(folder, 0o700))
	require.ErrorIs(t, p.run(ctx, k, 0), errdefs.ErrAlreadyExists)
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, p.run(ctx, k, 0))
}

// TestResumeOfWhatIsKilled provokes what containerd says of a paused task that was
// thawed by the kill.
func TestResumeOfWhatIsKilled(t *testing.T) {
	p := openGuest(t, Options{})
	inst := start(t, p, guestSpec("a", "sleep", "1h"))
	ctx := p.dress(t.Context())
	require.NoError(t, compute.Pause(ctx, inst))
	require.NoError(t, p.kill(ctx, inst.ID(), 9, true))
	require.NoError(t, p.thaw(ctx, inst.ID()))
	require.NoError(t, p.thaw(ctx, inst.ID()))
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
}
