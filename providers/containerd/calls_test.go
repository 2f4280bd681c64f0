package containerd

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
	"github.com/univirt/univirt/resource"
)

// TestCalls holds the number of calls to containerd that each operation makes.
// What it costs shows here before any clock does.
func TestCalls(t *testing.T) {
	p := openGuest(t, Options{})
	ctx := t.Context()
	p.reaper.stop() // its calls belong to no operation
	// What is read or made once for a value, before the first.
	warm := start(t, p, guestSpec("warm", "sleep", "1h"))
	_, err := compute.Output(ctx, warm, testimage.Path, "hostname")
	require.NoError(t, err)
	require.NoError(t, warm.Delete(ctx, compute.DeleteOptions{Force: true}))

	var b strings.Builder
	var inst compute.Instance
	count := func(operation string, do func() error) {
		t.Helper()
		before, _ := Calls(p)
		require.NoError(t, do(), operation)
		after, _ := Calls(p)
		fmt.Fprintf(&b, "%s\n", operation)
		for _, method := range slices.Sorted(maps.Keys(after)) {
			// A stream is asked until it answers, which is a matter of time.
			if n := after[method] - before[method]; n > 0 && method != "Events/Publish" {
				fmt.Fprintf(&b, "\t%d %s\n", n, method)
			}
		}
	}
	count("plan", func() error {
		_, err := compute.PlanOf(ctx, p.Instances(), guestSpec("other", "sleep", "1h"))
		return err
	})
	begin := func() error { return inst.Start(ctx, compute.StartOptions{}) }
	count("create", func() (err error) {
		inst, err = p.Instances().Create(ctx, guestSpec("web", "sleep", "1h"))
		return err
	})
	count("get by name", func() error { _, err := p.Instances().Get(ctx, "web"); return err })
	count("get by ID", func() error { _, err := p.Instances().Get(ctx, inst.ID()); return err })
	count("start", begin)
	count("start of a running instance", begin)
	count("info", func() error { _, err := inst.Info(ctx); return err })
	count("exec", func() error { _, err := compute.Output(ctx, inst, testimage.Path, "hostname"); return err })
	count("dial of a port where nothing listens", func() error {
		_, err := compute.Dial(ctx, inst, "9")
		if errdefs.IsUnavailable(err) {
			return nil
		}
		return fmt.Errorf("dial: %w", err)
	})
	count("logs", func() error { _, err := resource.Collect(compute.Logs(ctx, inst, compute.LogOptions{})); return err })
	count("pause", func() error { return compute.Pause(ctx, inst) })
	count("resume", func() error { return compute.Resume(ctx, inst) })
	count("update of labels", func() error {
		value := "web"
		return inst.Update(ctx, compute.Change{Labels: resource.LabelPatch{"tier": &value}})
	})
	count("update of resources", func() error {
		return inst.Update(ctx, compute.Change{Resources: &compute.Resources{Memory: 64 * resource.MiB, PIDs: 50}})
	})
	count("restart (force)", func() error { return compute.Restart(ctx, inst, compute.StopOptions{Force: true}) })
	for _, n := range []int{1, 5} {
		for i := range n {
			create(t, p, guestSpec(fmt.Sprintf("more-%d-%d", n, i), "exit", "0"))
		}
		name := fmt.Sprintf(" of %d instances", n+1)
		if n == 5 {
			name = " of 7 instances"
		}
		count("list"+name, func() error { _, err := listAll(ctx, p); return err })
		count("stats"+name, func() error {
			_, err := resource.Collect(p.Instances().Stats(ctx, compute.Filter{}))
			return err
		})
	}
	count("sweep that finds nothing", func() error {
		report, err := p.Sweep(ctx, univirt.SweepOptions{})
		require.Empty(t, report)
		return err
	})
	count("describe", func() error { _, err := p.Describe(ctx); return err })
	count("stop (force)", func() error { return inst.Stop(ctx, compute.StopOptions{Force: true}) })
	count("stop of a stopped instance", func() error { return inst.Stop(ctx, compute.StopOptions{}) })
	count("wait for a run that is over", func() error { _, err := inst.Wait(ctx, compute.WaitOptions{}); return err })
	count("delete", func() error { return inst.Delete(ctx, compute.DeleteOptions{}) })
	count("create, start, wait, delete", func() error { return life(ctx, p, guestSpec("web", "exit", "0")) })
	forced := start(t, p, guestSpec("forced", "sleep", "1h"))
	count("delete (force) of a running instance", func() error { return forced.Delete(ctx, compute.DeleteOptions{Force: true}) })
	countImages(t, p, count)
	// What follows the events goes on for whoever continues, so this is the last.
	count("watch of 6 instances", func() error {
		for event, err := range p.Watch(ctx, resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}}) {
			if err != nil || event.Type == resource.EventSynced {
				return err
			}
		}
		return nil
	})

	golden := filepath.Join("testdata", "calls.golden")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "run with -update where that is meant")
}

// countImages counts what is done with images, each of two layers.
func countImages(t *testing.T, p *Provider, count func(operation string, do func() error)) {
	ctx := t.Context()
	ref := push(t, testregistry.Test(t), "app:v1", dataImage(t, 2, 10_000))
	pull := func() error { _, err := p.Images().Pull(ctx, ref, compute.PullOptions{}); return err }
	count("list of images", func() error { _, err := resource.Collect(p.Images().List(ctx, compute.ImageFilter{})); return err })
	count("pull of an image", pull)
	count("pull of an image that is there", pull)
	count("get of an image", func() error { _, err := p.Images().Get(ctx, ref); return err })
	count("export of an image", func() error {
		return p.Images().Export(ctx, io.Discard, []string{ref}, compute.ExportOptions{})
	})
	count("delete of an image", func() error { return p.Images().Delete(ctx, ref, compute.DeleteImageOptions{}) })
	archive := archived(t, compute.OCIArchive, "example.test/app:v1", dataImage(t, 2, 10_000))
	bring := func() error {
		_, err := p.Images().Import(ctx, from(archive, compute.OCIArchive), compute.ImportOptions{})
		return err
	}
	count("import of an image", bring)
	count("import of an image that is there", bring)
}
