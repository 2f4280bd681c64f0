package providertest

import (
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// copyCases are about what is made of an instance, or added to it: snapshots,
// clones, volumes and networks while it runs, plans.
func copyCases() []testCase {
	snapshot := has(compute.FeatureSnapshot, compute.FeatureExec)
	return []testCase{
		{"A snapshot keeps the content, and a revert brings it back", snapshot, snapshotRevert},
		{"Snapshots are listed, the oldest first, with their parents", has(compute.FeatureSnapshot), snapshotList},
		{"A snapshot's name is unique in its instance", has(compute.FeatureSnapshot), snapshotNames},
		{"A snapshot that is not there is NotFound", has(compute.FeatureSnapshot), snapshotMissing},
		{"Deleting a snapshot never deletes the content", snapshot, snapshotDelete},
		{"A revert of a running instance is FailedPrecondition unless it is forced", has(compute.FeatureSnapshot), snapshotRunning},
		{"A revert to a snapshot with memory resumes the run as it was", has(compute.FeatureSnapshotMemory), snapshotMemory},
		{"A clone has the content under another identity", has(compute.FeatureClone, compute.FeatureExec), cloneContent},
		{"A clone of a name that exists is AlreadyExists", has(compute.FeatureClone), cloneNameTaken},
		{"A clone may be made of a snapshot", has(compute.FeatureClone, compute.FeatureSnapshot, compute.FeatureExec), cloneSnapshot},
		{"A clone of a snapshot that is not there is NotFound", has(compute.FeatureClone), cloneSnapshotMissing},
		{"A volume may be attached to a running instance, and detached", all(has(compute.FeatureAttachVolume, compute.FeatureExec), hasVolumes(storage.FeatureVolumes)), attachVolume},
		{"A volume to attach that is not there is NotFound and named", has(compute.FeatureAttachVolume), attachVolumeMissing},
		{"A network may be attached to a running instance, and detached", all(has(compute.FeatureAttachNetwork, compute.FeatureExec), hasNetworks(network.FeatureNetworks)), attachNetwork},
		{"A network or an endpoint to attach that is not there is NotFound and named", has(compute.FeatureAttachNetwork), attachNetworkMissing},
		{"A plan changes nothing and shows the native artefact", has(compute.FeaturePlan), plan},
		{"A plan fails as Create would for a spec with faults", has(compute.FeaturePlan), planFaults},
		{"A plan tells of each field that Create refuses", has(compute.FeaturePlan), planGaps},
		{"Migrate keeps identity and run", has(compute.FeatureMigrate), migrate},
		{"A provider's own restart begins another run", has(compute.FeatureRestart), restartRunning},
	}
}

// snapshots finds an instance's Snapshotter.
func (e *env) snapshots(inst compute.Instance) compute.Snapshotter {
	e.Helper()
	s, err := compute.Snapshots(inst)
	require.NoError(e, err)
	return s
}

// take takes a snapshot of the disk.
func (e *env) take(inst compute.Instance, name string) compute.SnapshotInfo {
	e.Helper()
	info, err := e.snapshots(inst).CreateSnapshot(e.ctx, compute.SnapshotSpec{Name: name})
	require.NoError(e, err)
	return info
}

// written makes a stopped instance with a file of some content, of the worker's disk
// where that can be copied.
func (e *env) written(name, content string) compute.Instance {
	e.Helper()
	inst := e.worker(name)
	e.output(inst, "write", "/state", content)
	if !e.lent() || !e.offers(compute.FeatureClone) {
		e.kill(inst)
		return inst
	}
	inst, err := compute.Clone(e.ctx, inst, compute.CloneOptions{Name: name})
	require.NoError(e, err, "copy the worker")
	return inst
}

// reads starts an instance, requires the file's content, and stops it.
func (e *env) reads(inst compute.Instance, content string) {
	e.Helper()
	e.start(inst)
	require.Equal(e, content, e.output(inst, "read", "/state"))
	e.kill(inst)
}

func snapshotRevert(e *env) {
	inst := e.written("web", "first")
	info := e.take(inst, "one")
	require.Equal(e, "one", info.Ref.Name)
	require.Equal(e, resource.KindSnapshot, info.Ref.Kind)
	e.start(inst)
	e.output(inst, "write", "/state", "second")
	e.kill(inst)
	require.NoError(e, e.snapshots(inst).RevertSnapshot(e.ctx, "one", compute.RevertOptions{}))
	e.inState(inst, compute.Stopped)
	e.reads(inst, "first")
}

func snapshotList(e *env) {
	inst := e.stopped("web")
	for _, name := range []string{"b", "a", "c"} {
		e.take(inst, name)
	}
	all, err := resource.Collect(e.snapshots(inst).Snapshots(e.ctx))
	require.NoError(e, err)
	names, parents := []string{}, []string{}
	for _, s := range all {
		names, parents = append(names, s.Ref.Name), append(parents, s.Parent)
		e.wellFormedRef(s.Ref, resource.KindSnapshot)
	}
	require.Equal(e, []string{"b", "a", "c"}, names)
	require.Equal(e, []string{"", "b", "a"}, parents)
}

func snapshotNames(e *env) {
	inst, other := e.stopped("web"), e.stopped("other")
	e.take(inst, "one")
	e.take(other, "one")
	_, err := e.snapshots(inst).CreateSnapshot(e.ctx, compute.SnapshotSpec{Name: "one"})
	e.fails(err, errdefs.ErrAlreadyExists)
}

func snapshotMissing(e *env) {
	inst, other := e.stopped("web"), e.stopped("other")
	e.take(other, "one")
	e.fails(e.snapshots(inst).RevertSnapshot(e.ctx, "one", compute.RevertOptions{}), errdefs.ErrNotFound)
	e.fails(e.snapshots(inst).DeleteSnapshot(e.ctx, "one"), errdefs.ErrNotFound)
	require.NoError(e, e.snapshots(other).DeleteSnapshot(e.ctx, "one"))
	e.fails(e.snapshots(other).DeleteSnapshot(e.ctx, "one"), errdefs.ErrNotFound)
}

func snapshotDelete(e *env) {
	if e.offers(compute.FeatureSnapshotMemory) {
		snapshotDeleteRunning(e)
		if e.lent() {
			return // it would boot each time
		}
	}
	inst := e.written("stopped", "first")
	e.take(inst, "one")
	e.take(inst, "two")
	require.NoError(e, e.snapshots(inst).DeleteSnapshot(e.ctx, "one"))
	e.reads(inst, "first")
	require.NoError(e, e.snapshots(inst).RevertSnapshot(e.ctx, "two", compute.RevertOptions{}))
	e.reads(inst, "first")
	require.NoError(e, e.snapshots(inst).DeleteSnapshot(e.ctx, "two"))
	e.reads(inst, "first")
}

// snapshotDeleteRunning is snapshotDelete where a revert leads back to a run.
func snapshotDeleteRunning(e *env) {
	inst := e.worker("web")
	holds := func(content string) {
		e.Helper()
		e.inState(inst, compute.Running)
		e.forgets(inst)
		require.Equal(e, content, e.output(inst, "read", "/state"))
	}
	e.output(inst, "write", "/state", "first")
	e.forgets(inst)
	e.take(inst, "one")
	_, err := e.snapshots(inst).CreateSnapshot(e.ctx, compute.SnapshotSpec{Name: "two", Memory: true})
	require.NoError(e, err)
	require.NoError(e, e.snapshots(inst).DeleteSnapshot(e.ctx, "one"))
	holds("first")
	e.output(inst, "write", "/state", "second")
	require.NoError(e, e.snapshots(inst).RevertSnapshot(e.ctx, "two", compute.RevertOptions{Force: true}))
	holds("first")
	e.output(inst, "write", "/state", "third")
	require.NoError(e, e.snapshots(inst).DeleteSnapshot(e.ctx, "two"))
	holds("third")
}

func snapshotRunning(e *env) {
	inst := e.stopped("web")
	e.take(inst, "one")
	e.start(inst)
	e.fails(e.snapshots(inst).RevertSnapshot(e.ctx, "one", compute.RevertOptions{}), errdefs.ErrFailedPrecondition)
	e.inState(inst, compute.Running)
	require.NoError(e, e.snapshots(inst).RevertSnapshot(e.ctx, "one", compute.RevertOptions{Force: true}))
	e.inState(inst, compute.Stopped)
}

func snapshotMemory(e *env) {
	inst := e.running("web")
	info, err := e.snapshots(inst).CreateSnapshot(e.ctx, compute.SnapshotSpec{Name: "live", Memory: true})
	require.NoError(e, err)
	require.True(e, info.Memory)
	e.inState(inst, compute.Running)
	e.kill(inst)
	require.NoError(e, e.snapshots(inst).RevertSnapshot(e.ctx, "live", compute.RevertOptions{}))
	e.inState(inst, compute.Running)
}

func cloneContent(e *env) {
	inst := e.written("web", "first")
	clone, err := compute.Clone(e.ctx, inst, compute.CloneOptions{Name: "copy", Labels: resource.Labels{"tier": "copy"}})
	require.NoError(e, err)
	require.NotEqual(e, inst.ID(), clone.ID())
	info := e.info(clone)
	require.Equal(e, compute.Stopped, info.State)
	require.Equal(e, "copy", info.Ref.Name)
	require.Equal(e, resource.Labels{"tier": "copy"}, info.Labels)
	e.start(clone)
	require.Equal(e, "first", e.output(clone, "read", "/state"))
	e.output(clone, "write", "/state", "changed")
	e.reads(inst, "first")
	require.NoError(e, inst.Delete(e.ctx, compute.DeleteOptions{}))
	e.forgets(clone)
	require.Equal(e, "changed", e.output(clone, "read", "/state"), "the copy after its original was deleted")
}

func cloneNameTaken(e *env) {
	inst := e.stopped("web")
	_, err := compute.Clone(e.ctx, inst, compute.CloneOptions{Name: "web"})
	e.failsField(err, errdefs.ErrAlreadyExists, "name")
	require.Equal(e, []string{"web"}, e.names(e.instances(), compute.Filter{}))
}

func cloneSnapshot(e *env) {
	inst := e.worker("web")
	e.output(inst, "write", "/state", "first")
	e.take(inst, "one")
	e.output(inst, "write", "/state", "second")
	clone, err := compute.Clone(e.ctx, inst, compute.CloneOptions{Name: "copy", Snapshot: "one"})
	require.NoError(e, err)
	e.reads(clone, "first")
}

func cloneSnapshotMissing(e *env) {
	inst := e.stopped("web")
	_, err := compute.Clone(e.ctx, inst, compute.CloneOptions{Name: "copy", Snapshot: "none"})
	e.fails(err, errdefs.ErrNotFound)
	require.Equal(e, []string{"web"}, e.names(e.instances(), compute.Filter{}))
}

func attachVolume(e *env) {
	e.visit()
	_, err := e.p.Volumes().Create(e.ctx, storage.Spec{Name: "data"})
	require.NoError(e, err)
	inst := e.worker("web")
	mount := compute.Mount{Type: compute.MountVolume, Source: "data", Path: "/data"}
	require.NoError(e, compute.AttachVolume(e.ctx, inst, mount))
	// A guest that mounts its disks needs a moment to see them come and go.
	succeeds := func(program ...string) func() bool {
		return func() bool { return e.exec(inst, program...).exit.Code == 0 }
	}
	e.eventually("the volume is there", succeeds("write", "/data/x", "here"))
	e.fails(compute.AttachVolume(e.ctx, inst, mount), errdefs.ErrAlreadyExists)
	require.NoError(e, compute.DetachVolume(e.ctx, inst, "/data"))
	e.eventually("the volume is gone", func() bool { return !succeeds("read", "/data/x")() })
	e.fails(compute.DetachVolume(e.ctx, inst, "/data"), errdefs.ErrNotFound)
	require.NoError(e, compute.AttachVolume(e.ctx, inst, mount))
	e.eventually("the volume is there again", succeeds("read", "/data/x"))
	require.Equal(e, "here", e.output(inst, "read", "/data/x"))
}

func attachVolumeMissing(e *env) {
	inst := e.stopped("web")
	mount := compute.Mount{Type: compute.MountVolume, Source: "none-such", Path: "/data"}
	e.failsField(compute.AttachVolume(e.ctx, inst, mount), errdefs.ErrNotFound, "source")
	require.Empty(e, e.info(inst).Spec.Mounts)
}

func attachNetworkMissing(e *env) {
	inst := e.stopped("web")
	before := e.info(inst)
	e.failsField(compute.AttachNetwork(e.ctx, inst, compute.NetworkAttachment{Network: "none-such"}), errdefs.ErrNotFound, "network")
	e.failsField(compute.AttachNetwork(e.ctx, inst, compute.NetworkAttachment{Endpoint: absentID}), errdefs.ErrNotFound, "endpoint")
	after := e.info(inst)
	require.Equal(e, before.Spec.Networks, after.Spec.Networks)
	require.Len(e, after.Endpoints, len(before.Endpoints))
}

func attachNetwork(e *env) {
	e.visit()
	_, err := e.p.Networks().Create(e.ctx, network.Spec{Name: "lan"})
	require.NoError(e, err)
	inst := e.worker("web")
	before := len(e.info(inst).Endpoints)
	require.NoError(e, compute.AttachNetwork(e.ctx, inst, compute.NetworkAttachment{Network: "lan"}))
	endpoints := e.info(inst).Endpoints
	require.Len(e, endpoints, before+1)
	endpoint := endpoints[before]
	require.Equal(e, "lan", endpoint.Network.Name)
	require.NotEmpty(e, endpoint.Addresses)
	if e.offers(compute.FeatureStats) {
		counted := e.stats(compute.Filter{IDs: []string{inst.ID()}})[e.info(inst).Ref.Name].Network
		require.Len(e, counted, before+1, "an entry for each attachment")
		require.Equal(e, endpoint.Ref.ID, counted[before].Endpoint)
	}
	// A guest that is still booting lets go of nothing.
	e.output(inst, "exit", "0")
	require.NoError(e, compute.DetachNetwork(e.ctx, inst, endpoint.Ref.ID))
	require.Len(e, e.info(inst).Endpoints, before)
	e.fails(compute.DetachNetwork(e.ctx, inst, endpoint.Ref.ID), errdefs.ErrNotFound)
}

func plan(e *env) {
	p, err := compute.PlanOf(e.ctx, e.instances(), e.spec("web", "sleep", "1h"))
	require.NoError(e, err)
	require.Equal(e, e.s.offer.desc.Provider, p.Provider)
	require.NotEmpty(e, p.Format)
	require.NotEmpty(e, p.Native)
	require.Empty(e, p.Gaps)
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func planFaults(e *env) {
	_, err := compute.PlanOf(e.ctx, e.instances(), e.spec("We b", "sleep", "1h"))
	e.failsField(err, errdefs.ErrInvalidArgument, "name")
}

func planGaps(e *env) {
	table := e.s.offer.kindDescription().Fields
	for path, set := range samples {
		spec := e.spec("web", "sleep", "1h")
		set(&spec)
		want := refusals(table, spec)
		if len(want) == 0 {
			continue
		}
		p, err := compute.PlanOf(e.ctx, e.instances(), spec)
		require.NoError(e, err, path)
		var got []string
		for _, gap := range p.Gaps {
			if gap.Level == resource.FieldRefused {
				got = append(got, gap.Field)
			}
		}
		require.Equal(e, want, got, path)
	}
}

func migrate(e *env) {
	inst := e.running("web")
	before := e.info(inst)
	require.NoError(e, compute.Migrate(e.ctx, inst, compute.MigrateOptions{Live: true}))
	after := e.info(inst)
	require.Equal(e, before.Ref, after.Ref)
	require.Equal(e, before.Run, after.Run)
	require.Equal(e, compute.Running, after.State)
}
