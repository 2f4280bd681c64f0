package fake_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"iter"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// tier are the labels of all that has labels.
var tier = resource.Labels{"tier": "web"}

// world is a provider with one of each.
type world struct {
	*fake.Provider
	inst       compute.Instance
	execution  compute.Execution
	attachment compute.Attachment
	volume     storage.Volume
	network    network.Network
	endpoint   network.Endpoint
	foreign    resource.Ref
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return worldOf(t, func(opts fake.Options) *fake.Provider { return fake.Test(t, opts) })
}

func worldOf(t *testing.T, open func(fake.Options) *fake.Provider) *world {
	t.Helper()
	return worldWith(t, open, "")
}

// worldWith is a world without an attachment where there is not that feature.
func worldWith(t *testing.T, open func(fake.Options) *fake.Provider, missing resource.Feature) *world {
	t.Helper()
	listening := make(chan struct{})
	tell := sync.OnceFunc(func() { close(listening) })
	w := &world{Provider: open(program(func(ctx context.Context, p *fake.Process) int {
		if p.PID == 1 {
			l, err := p.Listen("tcp", ":80")
			if err != nil {
				return 1
			}
			defer l.Close()
			tell()
		}
		<-ctx.Done()
		return 0
	}))}
	ctx := t.Context()
	w.inst = start(t, w.Provider, "web", vm, func(s *compute.Spec) { s.Process.TTY, s.Labels = true, tier })
	<-listening
	var err error
	w.execution, err = compute.Exec(ctx, w.inst, compute.ExecSpec{Process: compute.Process{Command: []string{"app"}, TTY: true}})
	require.NoError(t, err)
	if missing != compute.FeatureAttach {
		w.attachment, err = compute.Attach(ctx, w.inst, compute.AttachOptions{})
		require.NoError(t, err)
	}
	w.volume = createVolume(t, w.Provider, storage.Spec{Name: "data", Labels: tier})
	w.network, err = w.Networks().Create(ctx, network.Spec{Name: "lan", Labels: tier})
	require.NoError(t, err)
	w.endpoint, err = w.network.Reserve(ctx, network.EndpointSpec{Name: "printer"})
	require.NoError(t, err)
	w.foreign, err = w.Backend().PlantForeign("", compute.Spec{Name: "theirs", Image: "app"})
	require.NoError(t, err)
	return w
}

// only is the error of a call that returns something besides.
func only[T any](_ T, err error) error { return err }

// closed is only for what must be closed.
func closed[T io.Closer](c T, err error) error {
	if err != nil {
		return err
	}
	return c.Close()
}

// first ranges over a stream until its first pair, whose error it returns.
func first[T any](seq iter.Seq2[T, error]) error {
	for _, err := range seq {
		return err
	}
	return nil
}

// all ranges over a stream to its end.
func all[T any](seq iter.Seq2[T, error]) error { return only(resource.Collect(seq)) }

// step is a call of the contract, after what must be done before it.
type step struct {
	op   fake.Op
	call func(ctx context.Context, w *world) error
}

// steps are the calls of the contract by the interfaces' methods.
var steps = map[string]step{
	"compute.Instances.Create": {fake.OpCreate, func(ctx context.Context, w *world) error {
		return only(w.Instances().Create(ctx, compute.Spec{Name: "other", Image: "app", Kind: compute.VM, Labels: tier}))
	}},
	"compute.Instances.Get": {fake.OpGet, func(ctx context.Context, w *world) error {
		return only(w.Instances().Get(ctx, "web"))
	}},
	"compute.Instances.List": {fake.OpList, func(ctx context.Context, w *world) error {
		return all(w.Instances().List(ctx, compute.Filter{}))
	}},
	"compute.Instances.Stats": {fake.OpStats, func(ctx context.Context, w *world) error {
		return all(w.Instances().Stats(ctx, compute.Filter{}))
	}},
	"compute.Planner.Plan": {fake.OpPlan, func(ctx context.Context, w *world) error {
		return only(compute.PlanOf(ctx, w.Instances(), compute.Spec{Name: "web", Image: "app", Kind: compute.VM, Labels: tier}))
	}},
	"compute.Instance.Info": {fake.OpInfo, func(ctx context.Context, w *world) error {
		return only(w.inst.Info(ctx))
	}},
	"compute.Instance.Start": {fake.OpStart, func(ctx context.Context, w *world) error {
		return w.inst.Start(ctx, compute.StartOptions{})
	}},
	"compute.Instance.Stop": {fake.OpStop, func(ctx context.Context, w *world) error {
		return w.inst.Stop(ctx, compute.StopOptions{})
	}},
	"compute.Instance.Wait": {fake.OpWait, func(ctx context.Context, w *world) error {
		if err := w.inst.Stop(ctx, compute.StopOptions{}); err != nil {
			return err
		}
		return only(w.inst.Wait(ctx, compute.WaitOptions{}))
	}},
	"compute.Instance.Update": {fake.OpUpdate, func(ctx context.Context, w *world) error {
		return w.inst.Update(ctx, compute.Change{})
	}},
	"compute.Instance.Delete": {fake.OpDelete, func(ctx context.Context, w *world) error {
		return w.inst.Delete(ctx, compute.DeleteOptions{Force: true})
	}},
	"compute.Pauser.Pause": {fake.OpPause, func(ctx context.Context, w *world) error { return compute.Pause(ctx, w.inst) }},
	"compute.Pauser.Resume": {fake.OpResume, func(ctx context.Context, w *world) error {
		if err := compute.Pause(ctx, w.inst); err != nil {
			return err
		}
		return compute.Resume(ctx, w.inst)
	}},
	"compute.Suspender.Suspend": {fake.OpSuspend, func(ctx context.Context, w *world) error {
		return compute.Suspend(ctx, w.inst, compute.SuspendOptions{})
	}},
	"compute.Resetter.Reset": {fake.OpReset, func(ctx context.Context, w *world) error { return compute.Reset(ctx, w.inst) }},
	"compute.Execer.Exec": {fake.OpExec, func(ctx context.Context, w *world) error {
		return only(compute.Exec(ctx, w.inst, compute.ExecSpec{Process: compute.Process{Command: []string{"true"}}}))
	}},
	"compute.Execution.Wait": {fake.OpWaitExecution, func(ctx context.Context, w *world) error {
		if err := w.execution.Signal(ctx, "SIGKILL"); err != nil {
			return err
		}
		return only(w.execution.Wait(ctx))
	}},
	"compute.Execution.Signal": {fake.OpSignalExecution, func(ctx context.Context, w *world) error {
		return w.execution.Signal(ctx, "SIGTERM")
	}},
	"compute.Execution.Resize": {fake.OpResizeExecution, func(ctx context.Context, w *world) error {
		return w.execution.Resize(ctx, compute.TerminalSize{Width: 100, Height: 30})
	}},
	"compute.Attacher.Attach": {fake.OpAttach, func(ctx context.Context, w *world) error {
		return closed(compute.Attach(ctx, w.inst, compute.AttachOptions{}))
	}},
	"compute.Attachment.Wait": {fake.OpWaitAttachment, func(ctx context.Context, w *world) error {
		if err := w.attachment.Close(); err != nil {
			return err
		}
		return w.attachment.Wait(ctx)
	}},
	"compute.Attachment.Resize": {fake.OpResizeAttachment, func(ctx context.Context, w *world) error {
		return w.attachment.Resize(ctx, compute.TerminalSize{Width: 100, Height: 30})
	}},
	"compute.Logger.Logs": {fake.OpLogs, func(ctx context.Context, w *world) error {
		return all(compute.Logs(ctx, w.inst, compute.LogOptions{}))
	}},
	"compute.Consoler.Console": {fake.OpConsole, func(ctx context.Context, w *world) error {
		return closed(compute.Console(ctx, w.inst, compute.ConsoleOptions{}))
	}},
	"compute.Screenshotter.Screenshot": {fake.OpScreenshot, func(ctx context.Context, w *world) error {
		return only(compute.Screenshot(ctx, w.inst, compute.ScreenshotOptions{}))
	}},
	"compute.GuestReporter.Guest": {fake.OpGuest, func(ctx context.Context, w *world) error {
		return only(compute.Guest(ctx, w.inst))
	}},
	"compute.Dialer.Dial": {fake.OpDial, func(ctx context.Context, w *world) error {
		return closed(compute.Dial(ctx, w.inst, "80"))
	}},
	"compute.Watcher.Watch": {fake.OpWatch, func(ctx context.Context, w *world) error {
		return first(w.inst.(compute.Watcher).Watch(ctx))
	}},
	"compute.Filer.CopyIn": {fake.OpCopyIn, func(ctx context.Context, w *world) error {
		return compute.CopyIn(ctx, w.inst, "/", emptyArchive(), compute.CopyOptions{})
	}},
	"compute.Filer.CopyOut": {fake.OpCopyOut, func(ctx context.Context, w *world) error {
		return closed(compute.CopyOut(ctx, w.inst, "/etc", compute.CopyOptions{}))
	}},
	"compute.Filer.Files": {fake.OpFiles, func(ctx context.Context, w *world) error {
		return only(compute.Files(ctx, w.inst))
	}},
	"compute.Cloner.Clone": {fake.OpClone, func(ctx context.Context, w *world) error {
		if err := w.inst.Stop(ctx, compute.StopOptions{}); err != nil {
			return err
		}
		return only(compute.Clone(ctx, w.inst, compute.CloneOptions{Name: "copy"}))
	}},
	"compute.Snapshotter.CreateSnapshot": {fake.OpCreateSnapshot, func(ctx context.Context, w *world) error {
		return only(w.inst.(compute.Snapshotter).CreateSnapshot(ctx, compute.SnapshotSpec{Name: "s"}))
	}},
	"compute.Snapshotter.Snapshots": {fake.OpListSnapshots, func(ctx context.Context, w *world) error {
		return all(w.inst.(compute.Snapshotter).Snapshots(ctx))
	}},
	"compute.Snapshotter.RevertSnapshot": {fake.OpRevertSnapshot, func(ctx context.Context, w *world) error {
		s := w.inst.(compute.Snapshotter)
		if err := w.inst.Stop(ctx, compute.StopOptions{}); err != nil {
			return err
		}
		if err := only(s.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "s"})); err != nil {
			return err
		}
		return s.RevertSnapshot(ctx, "s", compute.RevertOptions{})
	}},
	"compute.Snapshotter.DeleteSnapshot": {fake.OpDeleteSnapshot, func(ctx context.Context, w *world) error {
		s := w.inst.(compute.Snapshotter)
		if err := only(s.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "s"})); err != nil {
			return err
		}
		return s.DeleteSnapshot(ctx, "s")
	}},
	"compute.VolumeAttacher.AttachVolume": {fake.OpAttachVolume, func(ctx context.Context, w *world) error {
		return compute.AttachVolume(ctx, w.inst, compute.Mount{Type: compute.MountVolume, Source: "data", Path: "/data"})
	}},
	"compute.VolumeAttacher.DetachVolume": {fake.OpDetachVolume, func(ctx context.Context, w *world) error {
		if err := compute.AttachVolume(ctx, w.inst, compute.Mount{Type: compute.MountVolume, Source: "data", Path: "/data"}); err != nil {
			return err
		}
		return compute.DetachVolume(ctx, w.inst, "/data")
	}},
	"compute.NetworkAttacher.AttachNetwork": {fake.OpAttachNetwork, func(ctx context.Context, w *world) error {
		return compute.AttachNetwork(ctx, w.inst, compute.NetworkAttachment{Network: "lan"})
	}},
	"compute.NetworkAttacher.DetachNetwork": {fake.OpDetachNetwork, func(ctx context.Context, w *world) error {
		if err := compute.AttachNetwork(ctx, w.inst, compute.NetworkAttachment{Network: "lan"}); err != nil {
			return err
		}
		i, err := w.inst.Info(ctx)
		if err != nil {
			return err
		}
		return compute.DetachNetwork(ctx, w.inst, i.Endpoints[0].Ref.ID)
	}},

	"compute.Images.Pull": {fake.OpPull, func(ctx context.Context, w *world) error {
		return only(w.Images().Pull(ctx, "nginx", compute.PullOptions{}))
	}},
	"compute.Images.Import": {fake.OpImport, func(ctx context.Context, w *world) error {
		var archive bytes.Buffer
		if err := w.Images().Export(ctx, &archive, []string{"app"}, compute.ExportOptions{}); err != nil {
			return err
		}
		return only(w.Images().Import(ctx, compute.ImageSource{Reader: &archive, Format: compute.OCIArchive}, compute.ImportOptions{Name: "app"}))
	}},
	"compute.Images.Export": {fake.OpExport, func(ctx context.Context, w *world) error {
		return w.Images().Export(ctx, io.Discard, []string{"app"}, compute.ExportOptions{})
	}},
	"compute.Images.Get": {fake.OpGetImage, func(ctx context.Context, w *world) error {
		return only(w.Images().Get(ctx, "app"))
	}},
	"compute.Images.List": {fake.OpListImages, func(ctx context.Context, w *world) error {
		return all(w.Images().List(ctx, compute.ImageFilter{}))
	}},
	"compute.Images.Delete": {fake.OpDeleteImage, func(ctx context.Context, w *world) error {
		if err := only(w.Images().Pull(ctx, "nginx", compute.PullOptions{})); err != nil {
			return err
		}
		return w.Images().Delete(ctx, "nginx", compute.DeleteImageOptions{})
	}},

	"storage.Volumes.Create": {fake.OpCreateVolume, func(ctx context.Context, w *world) error {
		return only(w.Volumes().Create(ctx, storage.Spec{Name: "other", Labels: tier}))
	}},
	"storage.Volumes.Get": {fake.OpGetVolume, func(ctx context.Context, w *world) error {
		return only(w.Volumes().Get(ctx, "data"))
	}},
	"storage.Volumes.List": {fake.OpListVolumes, func(ctx context.Context, w *world) error {
		return all(w.Volumes().List(ctx, storage.Filter{}))
	}},
	"storage.PoolLister.Pools": {fake.OpListPools, func(ctx context.Context, w *world) error {
		return all(storage.Pools(ctx, w.Volumes()))
	}},
	"storage.Volume.Info": {fake.OpVolumeInfo, func(ctx context.Context, w *world) error {
		return only(w.volume.Info(ctx))
	}},
	"storage.Volume.Update": {fake.OpUpdateVolume, func(ctx context.Context, w *world) error {
		return w.volume.Update(ctx, storage.Change{})
	}},
	"storage.Volume.Delete": {fake.OpDeleteVolume, func(ctx context.Context, w *world) error {
		return w.volume.Delete(ctx, storage.DeleteOptions{})
	}},
	"storage.Resizer.Resize": {fake.OpResizeVolume, func(ctx context.Context, w *world) error {
		return storage.Resize(ctx, w.volume, resource.GiB, storage.ResizeOptions{})
	}},
	"storage.Transferer.Export": {fake.OpExportVolume, func(ctx context.Context, w *world) error {
		return storage.Export(ctx, w.volume, io.Discard, storage.TransferOptions{Format: storage.Tar})
	}},
	"storage.Transferer.Import": {fake.OpImportVolume, func(ctx context.Context, w *world) error {
		return storage.Import(ctx, w.volume, emptyArchive(), storage.TransferOptions{Format: storage.Tar})
	}},
	"storage.Snapshotter.CreateSnapshot": {fake.OpCreateVolumeSnapshot, func(ctx context.Context, w *world) error {
		return only(w.volume.(storage.Snapshotter).CreateSnapshot(ctx, storage.SnapshotSpec{Name: "s"}))
	}},
	"storage.Snapshotter.Snapshots": {fake.OpListVolumeSnapshots, func(ctx context.Context, w *world) error {
		return all(w.volume.(storage.Snapshotter).Snapshots(ctx))
	}},
	"storage.Snapshotter.RevertSnapshot": {fake.OpRevertVolumeSnapshot, func(ctx context.Context, w *world) error {
		s := w.volume.(storage.Snapshotter)
		if err := only(s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "s"})); err != nil {
			return err
		}
		return s.RevertSnapshot(ctx, "s")
	}},
	"storage.Snapshotter.DeleteSnapshot": {fake.OpDeleteVolumeSnapshot, func(ctx context.Context, w *world) error {
		s := w.volume.(storage.Snapshotter)
		if err := only(s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "s"})); err != nil {
			return err
		}
		return s.DeleteSnapshot(ctx, "s")
	}},

	"network.Networks.Create": {fake.OpCreateNetwork, func(ctx context.Context, w *world) error {
		return only(w.Networks().Create(ctx, network.Spec{Name: "other", Labels: tier}))
	}},
	"network.Networks.Get": {fake.OpGetNetwork, func(ctx context.Context, w *world) error {
		return only(w.Networks().Get(ctx, "lan"))
	}},
	"network.Networks.List": {fake.OpListNetworks, func(ctx context.Context, w *world) error {
		return all(w.Networks().List(ctx, network.Filter{}))
	}},
	"network.Network.Info": {fake.OpNetworkInfo, func(ctx context.Context, w *world) error {
		return only(w.network.Info(ctx))
	}},
	"network.Network.Update": {fake.OpUpdateNetwork, func(ctx context.Context, w *world) error {
		return w.network.Update(ctx, network.Change{})
	}},
	"network.Network.Delete": {fake.OpDeleteNetwork, func(ctx context.Context, w *world) error {
		if err := w.endpoint.Release(ctx); err != nil {
			return err
		}
		return w.network.Delete(ctx, network.DeleteOptions{})
	}},
	"network.Network.Reserve": {fake.OpReserve, func(ctx context.Context, w *world) error {
		return only(w.network.Reserve(ctx, network.EndpointSpec{Name: "scanner"}))
	}},
	"network.Network.Endpoints": {fake.OpListEndpoints, func(ctx context.Context, w *world) error {
		return all(w.network.Endpoints(ctx, network.EndpointFilter{}))
	}},
	"network.Endpoint.Info": {fake.OpEndpointInfo, func(ctx context.Context, w *world) error {
		return only(w.endpoint.Info(ctx))
	}},
	"network.Endpoint.Release": {fake.OpReleaseEndpoint, func(ctx context.Context, w *world) error {
		return w.endpoint.Release(ctx)
	}},

	"univirt.Provider.Describe": {fake.OpDescribe, func(ctx context.Context, w *world) error { return only(w.Describe(ctx)) }},
	"univirt.Provider.Watch": {fake.OpWatch, func(ctx context.Context, w *world) error {
		return first(w.Watch(ctx, resource.WatchOptions{}))
	}},
	"univirt.Sweeper.Sweep": {fake.OpSweep, func(ctx context.Context, w *world) error {
		return only(w.Sweep(ctx, univirt.SweepOptions{}))
	}},
	"univirt.Adopter.Adopt": {fake.OpAdopt, func(ctx context.Context, w *world) error {
		return only(w.Adopt(ctx, w.foreign, univirt.AdoptOptions{}))
	}},
}

func emptyArchive() io.Reader {
	var b bytes.Buffer
	_ = tar.NewWriter(&b).Close()
	return &b
}
