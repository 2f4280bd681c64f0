package providertest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// operation is one thing that can be done to an instance.
type operation struct {
	name string
	// op is the operation in the table of transitions, empty where it is none of
	// those: reading, that is allowed in every state.
	op compute.Operation
	// word is what Error.Op says; empty where several are right.
	word  string
	needs []need
	do    func(ctx context.Context, e *env, inst compute.Instance) error
}

// answered reports whether it is something within the instance that answers.
func (o operation) answered() bool { return slices.ContainsFunc(o.needs, need.answered) }

// operations lists everything that can be done to an instance.
func operations() []operation {
	return append(tableOperations(), readOperations()...)
}

// tableOperations are those of the table of transitions.
func tableOperations() []operation {
	return []operation{
		{"start", compute.OpStart, "start", nil, func(ctx context.Context, _ *env, inst compute.Instance) error {
			return inst.Start(ctx, compute.StartOptions{})
		}},
		{"stop", compute.OpStop, "stop", nil, func(ctx context.Context, _ *env, inst compute.Instance) error {
			return inst.Stop(ctx, compute.StopOptions{Grace: time.Second})
		}},
		{"pause", compute.OpPause, "pause", has(compute.FeaturePause), func(ctx context.Context, _ *env, inst compute.Instance) error {
			return compute.Pause(ctx, inst)
		}},
		{"resume", compute.OpResume, "resume", has(compute.FeaturePause), func(ctx context.Context, _ *env, inst compute.Instance) error {
			return compute.Resume(ctx, inst)
		}},
		{"suspend", compute.OpSuspend, "suspend", has(compute.FeatureSuspend), func(ctx context.Context, _ *env, inst compute.Instance) error {
			return compute.Suspend(ctx, inst, compute.SuspendOptions{})
		}},
		{"restart", compute.OpRestart, "", nil, func(ctx context.Context, _ *env, inst compute.Instance) error {
			return compute.Restart(ctx, inst, compute.StopOptions{Grace: time.Second})
		}},
		{"reset", compute.OpReset, "reset", has(compute.FeatureReset), func(ctx context.Context, _ *env, inst compute.Instance) error {
			return compute.Reset(ctx, inst)
		}},
		{"exec", compute.OpExec, "exec", has(compute.FeatureExec), func(ctx context.Context, e *env, inst compute.Instance) error {
			x, err := e.launch(ctx, inst, compute.ExecSpec{Process: compute.Process{Command: []string{GuestPath, "exit", "0"}}})
			if err != nil {
				return err
			}
			_, err = x.Wait(ctx)
			return err
		}},
		{"attach", compute.OpAttach, "attach", has(compute.FeatureAttach), func(ctx context.Context, _ *env, inst compute.Instance) error {
			a, err := compute.Attach(ctx, inst, compute.AttachOptions{})
			if err != nil {
				return err
			}
			return a.Close()
		}},
		{"dial", compute.OpDial, "dial", has(compute.FeatureDial), func(ctx context.Context, _ *env, inst compute.Instance) error {
			conn, err := compute.Dial(ctx, inst, "9")
			if err != nil {
				return err
			}
			return conn.Close()
		}},
		{"update", compute.OpUpdate, "update", nil, func(ctx context.Context, _ *env, inst compute.Instance) error {
			touched := "touched"
			return inst.Update(ctx, compute.Change{Labels: resource.LabelPatch{"tried": &touched}})
		}},
		{"delete", compute.OpDelete, "delete", nil, func(ctx context.Context, _ *env, inst compute.Instance) error {
			return inst.Delete(ctx, compute.DeleteOptions{})
		}},
		{"delete by force", compute.OpDeleteForce, "delete", nil, func(ctx context.Context, _ *env, inst compute.Instance) error {
			return inst.Delete(ctx, compute.DeleteOptions{Force: true})
		}},
	}
}

// readOperations are those that the table does not have: reading, and what has
// rules of its own. They come last in a sequence, as they change nothing.
func readOperations() []operation {
	return []operation{
		{"info", "", "info", nil, func(ctx context.Context, _ *env, inst compute.Instance) error {
			_, err := inst.Info(ctx)
			return err
		}},
		{"wait", "", "wait", nil, func(ctx context.Context, _ *env, inst compute.Instance) error {
			_, err := inst.Wait(ctx, compute.WaitOptions{})
			return err
		}},
		{"logs", "", "logs", has(compute.FeatureLogs), func(ctx context.Context, _ *env, inst compute.Instance) error {
			_, err := resource.Collect(compute.Logs(ctx, inst, compute.LogOptions{}))
			return err
		}},
		{"console", "", "console", has(compute.FeatureConsole), func(ctx context.Context, _ *env, inst compute.Instance) error {
			c, err := compute.Console(ctx, inst, compute.ConsoleOptions{})
			if err != nil {
				return err
			}
			return c.Close()
		}},
		{"screenshot", "", "screenshot", has(compute.FeatureScreenshot), func(ctx context.Context, _ *env, inst compute.Instance) error {
			_, err := compute.Screenshot(ctx, inst, compute.ScreenshotOptions{})
			return err
		}},
		{"guest", "", "guest", has(compute.FeatureGuest), func(ctx context.Context, _ *env, inst compute.Instance) error {
			_, err := compute.Guest(ctx, inst)
			return err
		}},
		{"copy in", "", "copy in", has(compute.FeatureFiles), func(ctx context.Context, _ *env, inst compute.Instance) error {
			return compute.CopyIn(ctx, inst, "/", bytes.NewReader(emptyTar()), compute.CopyOptions{})
		}},
		{"copy out", "", "copy out", has(compute.FeatureFiles), func(ctx context.Context, _ *env, inst compute.Instance) error {
			r, err := compute.CopyOut(ctx, inst, "/etc/passwd", compute.CopyOptions{})
			if err != nil {
				return err
			}
			_, err = readAll(r)
			closed := r.Close()
			if err == nil {
				err = closed
			}
			return err
		}},
		{"files", "", "files", has(compute.FeatureFiles), func(ctx context.Context, _ *env, inst compute.Instance) error {
			files, err := compute.Files(ctx, inst)
			if err != nil {
				return err
			}
			_, err = fs.Stat(files, "etc/passwd")
			if path, ok := errors.AsType[*fs.PathError](err); ok {
				err = path.Err // which is how io/fs tells it
			}
			return err
		}},
		{"create snapshot", "", "", has(compute.FeatureSnapshot), func(ctx context.Context, _ *env, inst compute.Instance) error {
			s, err := compute.Snapshots(inst)
			if err != nil {
				return err
			}
			_, err = s.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "tried-" + resource.NewID()[:8]})
			return err
		}},
		{"clone", "", "clone", has(compute.FeatureClone), func(ctx context.Context, _ *env, inst compute.Instance) error {
			_, err := compute.Clone(ctx, inst, compute.CloneOptions{Name: "copy-" + resource.NewID()[:8]})
			return err
		}},
		{"attach volume", "", "attach volume", has(compute.FeatureAttachVolume), func(ctx context.Context, e *env, inst compute.Instance) error {
			return compute.AttachVolume(ctx, inst, e.mount("tried-"+resource.NewID()[:8]))
		}},
		{"attach network", "", "attach network", has(compute.FeatureAttachNetwork), func(ctx context.Context, _ *env, inst compute.Instance) error {
			return compute.AttachNetwork(ctx, inst, compute.NetworkAttachment{Network: "none-such"})
		}},
		{"migrate", "", "migrate", has(compute.FeatureMigrate), func(ctx context.Context, _ *env, inst compute.Instance) error {
			return compute.Migrate(ctx, inst, compute.MigrateOptions{})
		}},
	}
}

// mount returns one that the provider knows, if it knows any: of memory, or of a
// volume that is made.
func (e *env) mount(name string) compute.Mount {
	e.Helper()
	m := compute.Mount{Type: compute.MountTmpfs, Path: "/" + name}
	refused := refusals(e.s.offer.kindDescription().Fields, compute.Spec{Mounts: []compute.Mount{m}})
	if len(refused) == 0 || e.missing(hasVolumes(storage.FeatureVolumes)[0]) != "" {
		return m
	}
	m.Type, m.Source = compute.MountVolume, name
	e.volume(storage.Spec{Name: name})
	return m
}

// findOperation returns the one of the table.
func findOperation(op compute.Operation) operation {
	for _, o := range tableOperations() {
		if o.op == op {
			return o
		}
	}
	panic("providertest: the table of transitions has an operation that the suite does not know: " + string(op))
}

// providerOperation is one thing that can be asked of a provider value, beside
// those of its instances.
type providerOperation struct {
	name string
	// word is what Error.Op says, and kind the kind of resource that it speaks
	// of; empty where there is none.
	word  string
	kind  resource.Kind
	needs []need
	do    func(ctx context.Context, e *env, p univirt.Provider) error
}

// absentID is the identity of nothing.
const absentID = "deadbeef-0000-4000-8000-000000000000"

func providerOperations() []providerOperation {
	ops := []providerOperation{
		{"create an instance", "create", resource.KindInstance, nil, func(ctx context.Context, e *env, p univirt.Provider) error {
			_, err := p.Instances().Create(ctx, e.spec("tried", "sleep", "1h"))
			return err
		}},
		{"get an instance", "get", resource.KindInstance, nil, func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := p.Instances().Get(ctx, "tried")
			return err
		}},
		{"list instances", "list", resource.KindInstance, nil, func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := resource.Collect(p.Instances().List(ctx, compute.Filter{}))
			return err
		}},
		{"read stats", "stats", resource.KindInstance, has(compute.FeatureStats), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := resource.Collect(p.Instances().Stats(ctx, compute.Filter{}))
			return err
		}},
		{"plan an instance", "plan", resource.KindInstance, has(compute.FeaturePlan), func(ctx context.Context, e *env, p univirt.Provider) error {
			_, err := compute.PlanOf(ctx, p.Instances(), e.spec("tried", "sleep", "1h"))
			return err
		}},
		{"describe the provider", "describe", "", nil, func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := p.Describe(ctx)
			return err
		}},
		{"watch", "watch", "", nil, func(ctx context.Context, _ *env, p univirt.Provider) error {
			for _, err := range p.Watch(ctx, resource.WatchOptions{}) {
				return err
			}
			return nil
		}},
		{"sweep", "sweep", "", canSweep(), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := univirt.Sweep(ctx, p, univirt.SweepOptions{DryRun: true})
			return err
		}},
		{"adopt an instance", "adopt", resource.KindInstance, canAdopt(), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := univirt.Adopt(ctx, p, resource.Ref{Kind: resource.KindInstance, Name: "tried"}, univirt.AdoptOptions{})
			return err
		}},
	}
	return append(append(append(ops, imageOperations()...), volumeOperations()...), networkOperations()...)
}

func imageOperations() []providerOperation {
	return []providerOperation{
		{"get an image", "get", resource.KindImage, hook("Image"), func(ctx context.Context, e *env, p univirt.Provider) error {
			_, err := p.Images().Get(ctx, e.s.h.Image)
			return err
		}},
		{"list images", "list", resource.KindImage, hook("Image"), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := resource.Collect(p.Images().List(ctx, compute.ImageFilter{}))
			return err
		}},
		{"pull an image", "pull", resource.KindImage, hasImages(compute.FeaturePull), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := p.Images().Pull(ctx, "localhost:1/tried:1", compute.PullOptions{})
			return err
		}},
		{"import an image", "import", resource.KindImage, hasImages(compute.FeatureImport), func(ctx context.Context, e *env, p univirt.Provider) error {
			_, err := p.Images().Import(ctx, compute.ImageSource{Reader: bytes.NewReader(emptyTar()), Format: e.format()}, e.under("localhost:1/tried:1"))
			return err
		}},
		{"export an image", "export", resource.KindImage, hasImages(compute.FeatureExport), func(ctx context.Context, e *env, p univirt.Provider) error {
			return p.Images().Export(ctx, &bytes.Buffer{}, []string{e.s.h.Image}, compute.ExportOptions{})
		}},
		{"delete an image", "delete", resource.KindImage, hook("Image"), func(ctx context.Context, _ *env, p univirt.Provider) error {
			return p.Images().Delete(ctx, "localhost:1/tried:1", compute.DeleteImageOptions{})
		}},
	}
}

func volumeOperations() []providerOperation {
	return []providerOperation{
		{"create a volume", "create", resource.KindVolume, hasVolumes(storage.FeatureVolumes), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := p.Volumes().Create(ctx, storage.Spec{Name: "tried"})
			return err
		}},
		{"get a volume", "get", resource.KindVolume, hasVolumes(storage.FeatureVolumes), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := p.Volumes().Get(ctx, "tried")
			return err
		}},
		{"list volumes", "list", resource.KindVolume, hasVolumes(storage.FeatureVolumes), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := resource.Collect(p.Volumes().List(ctx, storage.Filter{}))
			return err
		}},
		{"read a volume", "info", resource.KindVolume, hasVolumes(storage.FeatureVolumes), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := p.Volumes().Handle(absentID).Info(ctx)
			return err
		}},
		{"update a volume", "update", resource.KindVolume, hasVolumes(storage.FeatureVolumes), func(ctx context.Context, _ *env, p univirt.Provider) error {
			return p.Volumes().Handle(absentID).Update(ctx, storage.Change{})
		}},
		{"delete a volume", "delete", resource.KindVolume, hasVolumes(storage.FeatureVolumes), func(ctx context.Context, _ *env, p univirt.Provider) error {
			return p.Volumes().Handle(absentID).Delete(ctx, storage.DeleteOptions{})
		}},
	}
}

func networkOperations() []providerOperation {
	return []providerOperation{
		{"create a network", "create", resource.KindNetwork, hasNetworks(network.FeatureNetworks), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := p.Networks().Create(ctx, network.Spec{Name: "tried"})
			return err
		}},
		{"get a network", "get", resource.KindNetwork, hasNetworks(network.FeatureNetworks), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := p.Networks().Get(ctx, "tried")
			return err
		}},
		{"list networks", "list", resource.KindNetwork, hasNetworks(network.FeatureNetworks), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := resource.Collect(p.Networks().List(ctx, network.Filter{}))
			return err
		}},
		{"read a network", "info", resource.KindNetwork, hasNetworks(network.FeatureNetworks), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := p.Networks().Handle(absentID).Info(ctx)
			return err
		}},
		{"update a network", "update", resource.KindNetwork, hasNetworks(network.FeatureNetworks), func(ctx context.Context, _ *env, p univirt.Provider) error {
			return p.Networks().Handle(absentID).Update(ctx, network.Change{})
		}},
		{"delete a network", "delete", resource.KindNetwork, hasNetworks(network.FeatureNetworks), func(ctx context.Context, _ *env, p univirt.Provider) error {
			return p.Networks().Handle(absentID).Delete(ctx, network.DeleteOptions{})
		}},
		{"reserve an endpoint", "reserve", "", hasNetworks(network.FeatureNetworks), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := p.Networks().Handle(absentID).Reserve(ctx, network.EndpointSpec{})
			return err
		}},
		{"list endpoints", "", "", hasNetworks(network.FeatureNetworks), func(ctx context.Context, _ *env, p univirt.Provider) error {
			_, err := resource.Collect(p.Networks().Handle(absentID).Endpoints(ctx, network.EndpointFilter{}))
			return err
		}},
	}
}
