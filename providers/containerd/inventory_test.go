package containerd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	contentstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/univirt/univirt/compute"
	managed "github.com/univirt/univirt/internal/daemon/containerd"
	testimage "github.com/univirt/univirt/providers/providertest/image"
)

// crash leaves a provider value as a kill of its process would.
func crash(p *Provider) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.end()
	p.calls.Wait()
	p.supervising.Wait()
	p.events.close()
	p.reaper.stop()
	p.detached.Wait()
	p.images.close()
	p.generation.Release()
	return p.client.Close()
}

// plantForeign makes a container as another program would.
func plantForeign(ctx context.Context, namespace string) (func(context.Context) error, error) {
	p, err := New(ctx, Options{Address: common.daemon.Address(), Namespace: namespace})
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Close() }()
	_, err = p.client.ContainerService().Create(p.dress(ctx), containers.Container{
		ID: "foreign", Spec: &anypb.Any{TypeUrl: "none", Value: []byte("{}")}, Runtime: containers.RuntimeInfo{Name: defaultRuntime}, Labels: map[string]string{"tool": "other"},
	})
	return func(ctx context.Context) error {
		p, err := New(ctx, Options{Address: common.daemon.Address(), Namespace: namespace})
		if err != nil {
			return err
		}
		defer func() { _ = p.Close() }()
		return ignoreNotFound(p.client.ContainerService().Delete(p.dress(ctx), "foreign"))
	}, err
}

// counter is the client of inventory. It lasts as long as the tests.
var counter = sync.OnceValues(func() (*client.Client, error) { return client.New(common.daemon.Address()) })

// inventory lists all that a namespace has at the backend and on the host, but
// for the leases and marks of living provider values.
//
// It opens no provider, so that it adds nothing to what it counts.
func inventory(ctx context.Context, space string) ([]string, error) {
	c, err := counter()
	if err != nil {
		return nil, err
	}
	p := &Provider{
		opts: Options{Logger: slog.New(slog.DiscardHandler)}, client: c, space: space, snapshotter: defaultSnapshotter,
		state: stateDir{root: filepath.Join(common.dir, "state"), space: space},
	}
	ctx = p.dress(ctx)
	var all []string
	add := func(kind, name string) { all = append(all, kind+":"+name) }
	list, err := p.client.ContainerService().List(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		add("container", c.ID)
	}
	tasks, err := p.loadTasks(ctx)
	if err != nil {
		return nil, err
	}
	for id := range tasks {
		add("task", id)
	}
	err = p.client.SnapshotService(p.snapshotter).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if strings.HasPrefix(info.Name, namespacePrefix) {
			add("snapshot", info.Name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	leases, err := p.client.LeasesService().List(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		if !p.state.generations().Alive(l.Labels[labelGeneration]) {
			add("lease", l.ID)
		}
	}
	images, err := p.client.ImageService().List(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		add("image", i.Name)
	}
	content := p.client.ContentStore()
	err = content.Walk(ctx, func(info contentstore.Info) error {
		add("content", info.Digest.String())
		return nil
	})
	if err != nil {
		return nil, err
	}
	ingests, err := content.ListStatuses(ctx)
	if err != nil {
		return nil, err
	}
	for _, ingest := range ingests {
		add("ingest", ingest.Ref)
	}
	for kind, pattern := range map[string]string{
		"folder": filepath.Join(p.state.instances(), "*"),
		"fifos":  filepath.Join(p.state.fifos(), "*", "*"),
		"runc":   filepath.Join(managed.RuncRoot(common.daemon.Address()), space, "*"),
		"run":    filepath.Join("/run/containerd/runc", space),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			add(kind, path)
		}
	}
	cgroups, err := cgroupsOf(space)
	if err != nil {
		return nil, err
	}
	for _, name := range cgroups {
		add("cgroup", name)
	}
	mounts, err := mountsOf(space)
	if err != nil {
		return nil, err
	}
	for _, point := range mounts {
		add("mount", point)
	}
	// A shim, and the writer of a log.
	for kind, text := range map[string]string{
		"process": "-namespace\x00" + space + "\x00",
		"logger":  "\x00" + p.state.instances() + "/",
	} {
		found, err := processes(text)
		if err != nil {
			return nil, err
		}
		for _, pid := range found {
			add(kind, pid)
		}
	}
	return all, nil
}

// mountsOf lists where something of a namespace is mounted.
func mountsOf(space string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		// The fifth is the mount point.
		if fields := strings.Fields(line); len(fields) > 4 && strings.Contains(fields[4], "/"+space+"/") {
			points = append(points, fields[4])
		}
	}
	return points, nil
}

// cgroupsOf lists the cgroups of a namespace by their names, each once however many
// hierarchies have it.
func cgroupsOf(space string) ([]string, error) {
	var names []string
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		for _, name := range []string{space, space + ".*"} {
			found, err := filepath.Glob(pattern + name)
			if err != nil {
				return nil, err
			}
			for _, path := range found {
				names = append(names, filepath.Base(path))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// processes finds those whose command line has a text.
func processes(text string) ([]string, error) {
	// filepath.Glob would list each process' folder, which takes most of the time.
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer func() { _ = proc.Close() }()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		line, err := os.ReadFile("/proc/" + name + "/cmdline")
		if err == nil && strings.Contains(string(line), text) {
			found = append(found, name)
		}
	}
	return found, nil
}

// TestInventory sees that what the suite counts is really counted.
func TestInventory(t *testing.T) {
	p := openGuest(t, Options{})
	count := func() map[string]int {
		all, err := inventory(t.Context(), p.space)
		require.NoError(t, err)
		kinds := make(map[string]int)
		for _, thing := range all {
			kind, _, _ := strings.Cut(thing, ":")
			kinds[kind]++
		}
		return kinds
	}
	empty := count()
	require.Equal(t, map[string]int{"image": 1, "content": 3}, empty)
	inst := start(t, p, guestSpec("a", "sleep", "1h"))
	_, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{testimage.Path, "sleep", "1h"}}})
	require.NoError(t, err)
	ctx := p.dress(t.Context())
	lease, err := p.client.LeasesService().Create(ctx, leases.WithID("left"))
	require.NoError(t, err)
	ingest, err := p.client.ContentStore().Writer(ctx, contentstore.WithRef("left"))
	require.NoError(t, err)
	require.NoError(t, ingest.Close())
	require.Equal(t, map[string]int{
		"image": 1, "content": 3, "container": 1, "task": 1, "snapshot": 1, "folder": 1, "fifos": 1, "process": 1, "logger": 1,
		"cgroup": 1, "runc": 1, "mount": 1, "lease": 1, "ingest": 1,
	}, count())
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
	require.NoError(t, p.client.LeasesService().Delete(ctx, lease))
	require.NoError(t, p.client.ContentStore().Abort(ctx, "left"))
	require.Equal(t, empty, count(), fmt.Sprint(inventory(t.Context(), p.space)))
}
