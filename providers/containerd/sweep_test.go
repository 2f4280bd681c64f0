package containerd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"testing"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/resource"
)

func init() {
	// A process that stops at a point of its work, and is killed there.
	roles["maker"] = func() error {
		ctx := context.Background()
		p, err := New(ctx, Options{Address: os.Args[1], Namespace: os.Args[2], StateDir: os.Args[3], Owner: "maker"})
		if err != nil {
			return err
		}
		lock, err := makeHalf(p.dress(ctx), p, os.Args[4])
		if err != nil {
			return err
		}
		fmt.Println("there")
		for {
			time.Sleep(time.Hour) // until the kill
			// A lock that is not referred to any more is closed.
			runtime.KeepAlive(p)
			runtime.KeepAlive(lock)
		}
	}
}

// makeHalf does a part of what an operation does, with its own means. It returns
// the lock that the operation holds.
func makeHalf(ctx context.Context, p *Provider, point string) (lock *filelock.Lock, err error) {
	spec := guestSpec("half", "sleep", "1h")
	switch point {
	case "root filesystem":
		leased, err := p.lease(ctx)
		if err != nil {
			return nil, err
		}
		image, err := p.images.resolve(ctx, spec.Image, spec.Pull)
		if err != nil {
			return nil, err
		}
		labels := p.ownerLabels()
		labels[labelID] = resource.NewID()
		labels[labelDeadline] = time.Now().Add(makingTime).UTC().Format(time.RFC3339)
		_, err = p.client.SnapshotService(p.snapshotter).Prepare(leased, snapshotKey(spec.Name), image.ChainID, snapshots.WithLabels(labels))
		return nil, err
	case "ephemeral":
		spec.Lifetime = resource.Ephemeral
	}
	inst, err := p.Instances().Create(ctx, spec)
	if err != nil || point == "container" {
		return nil, err
	}
	if point != "task" {
		return nil, inst.Start(ctx, compute.StartOptions{})
	}
	if lock, _, err = p.state.lockInstance(ctx, inst.ID()); err != nil {
		return nil, err
	}
	run := newRun(time.Now(), 0)
	output, err := p.output(inst.ID(), run, false)
	if err != nil {
		return nil, err
	}
	rootfs, err := p.client.SnapshotService(p.snapshotter).Mounts(ctx, snapshotKey(spec.Name))
	if err != nil {
		return nil, err
	}
	_, err = p.client.TaskService().Create(ctx, &tasksapi.CreateTaskRequest{
		ContainerID: inst.ID(), Rootfs: mount.ToProto(rootfs), Stdout: output, Stderr: output,
	})
	return lock, err
}

// kinds lists what refs are of, sorted.
func kinds(refs []resource.Ref) []string {
	var all []string
	for _, ref := range refs {
		all = append(all, string(ref.Kind))
	}
	sort.Strings(all)
	return all
}

// TestSweepAfterKill: each thing that a killed process leaves is told by
// Describe, and gone after a sweep; what it finished stays.
func TestSweepAfterKill(t *testing.T) {
	for _, c := range []struct {
		point     string
		leftovers []string // told by Describe
		swept     []string
		instances int // that stay
	}{
		{"root filesystem", []string{"generation", "instance", "lease"}, []string{"generation", "instance", "lease"}, 0},
		{"container", []string{"generation", "lease"}, []string{"generation", "lease"}, 1},
		{"task", []string{"generation", "lease", "task"}, []string{"generation", "lease", "task"}, 1},
		{"start", []string{"generation", "lease"}, []string{"generation", "lease"}, 1},
		{"ephemeral", []string{"generation", "lease"}, []string{"generation", "instance", "lease"}, 0},
	} {
		t.Run(c.point, func(t *testing.T) {
			p := openGuest(t, Options{})
			before, err := inventory(t.Context(), p.space)
			require.NoError(t, err)
			self, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.Command(self, p.opts.Address, p.opts.Namespace, p.opts.StateDir, c.point)
			cmd.Env = append(os.Environ(), roleVariable+"=maker")
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			if err == nil {
				alive, sweepErr := p.Sweep(t.Context(), univirt.SweepOptions{})
				assert.NoError(t, sweepErr)
				assert.Empty(t, alive.Removed, "its maker lives")
			}
			assert.NoError(t, cmd.Process.Kill())
			_ = cmd.Wait()
			require.NoError(t, err)
			require.Equal(t, "there\n", line)

			described, err := p.Describe(t.Context())
			require.NoError(t, err)
			assert.Equal(t, c.leftovers, kinds(described.Leftovers))
			none, err := p.Sweep(t.Context(), univirt.SweepOptions{Owner: "somebody-else"})
			require.NoError(t, err)
			assert.Empty(t, none.Removed)
			dry, err := p.Sweep(t.Context(), univirt.SweepOptions{DryRun: true})
			require.NoError(t, err)
			assert.Equal(t, c.swept, kinds(dry.Removed))
			report, err := p.Sweep(t.Context(), univirt.SweepOptions{})
			require.NoError(t, err)
			assert.Empty(t, report.Failed)
			assert.ElementsMatch(t, dry.Removed, report.Removed)
			again, err := p.Sweep(t.Context(), univirt.SweepOptions{})
			require.NoError(t, err)
			assert.Empty(t, again.Removed)

			infos, err := resource.Collect(p.Instances().List(t.Context(), compute.Filter{}))
			require.NoError(t, err)
			require.Len(t, infos, c.instances)
			for _, i := range infos {
				want := compute.Stopped
				if c.point == "start" {
					want = compute.Running
				}
				assert.Equal(t, want, i.State)
				inst := p.Instances().Handle(i.Ref.ID)
				assert.NoError(t, inst.Start(t.Context(), compute.StartOptions{}), "what stays can be used")
				assert.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
			}
			left, err := inventory(t.Context(), p.space)
			require.NoError(t, err)
			assert.Equal(t, before, left)
			// The name is free.
			assert.NoError(t, create(t, p, guestSpec("half")).Delete(t.Context(), compute.DeleteOptions{}))
		})
	}
}

// TestSweepFolders: what is kept of instances that are no more goes, and what a
// living value uses stays.
func TestSweepFolders(t *testing.T) {
	p := open(t, Options{})
	gone, locked := resource.NewID(), resource.NewID()
	require.NoError(t, os.MkdirAll(p.state.logs(gone), 0o700))
	lock, _, err := p.state.lockInstance(t.Context(), locked)
	require.NoError(t, err)
	dead := resource.NewID()
	require.NoError(t, os.MkdirAll(filepath.Join(p.state.fifos(), dead, "x"), 0o700))
	half := filepath.Join(p.state.instances(), goneMark+resource.NewID())
	require.NoError(t, os.MkdirAll(filepath.Join(half, "logs"), 0o700))
	foreign := filepath.Join(p.state.instances(), "not-ours")
	require.NoError(t, os.Mkdir(foreign, 0o700))
	report, err := p.Sweep(t.Context(), univirt.SweepOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{"generation", "logs", "logs"}, kinds(report.Removed))
	assert.NoDirExists(t, half)
	assert.NoDirExists(t, p.state.instance(gone))
	assert.NoDirExists(t, filepath.Join(p.state.fifos(), dead))
	assert.DirExists(t, foreign)
	assert.DirExists(t, p.state.instance(locked))
	lock.Release()
	report, err = p.Sweep(t.Context(), univirt.SweepOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{"logs"}, kinds(report.Removed))
	require.NoError(t, os.Remove(foreign))
	assert.True(t, p.state.generations().Alive(p.owner.Generation), "the sweeper's own mark stays")
	assert.Error(t, p.state.generations().Forget(p.owner.Generation))
	assert.True(t, p.state.generations().Alive(p.owner.Generation))
}
