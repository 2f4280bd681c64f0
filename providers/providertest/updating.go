package providertest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/providertest/guest"
	"github.com/univirt/univirt/resource"
)

func updateCases() []testCase {
	memory, cpus := changes("resources.memory"), changes("resources.cpus")
	return []testCase{
		{"Update patches labels: it sets, replaces, removes, and leaves the others", changes("labels"), updateLabels},
		{"Update patches annotations, which are free text", changes("annotations"), updateAnnotations},
		{"An empty change changes nothing", nil, updateNothing},
		{"The revision changes with an update, and with nothing else", changes("labels"), revisions},
		{"A fault anywhere in a change leaves everything as it was", changes("labels"), updateAllOrNothing},
		{"A field that cannot be changed is Unsupported and named, and nothing is changed", changes("labels"), updateUnsupported},
		{"Update of the grace is what the next Stop waits for", all(changes("stopGrace"), has(compute.FeatureLogs)), updateGrace},
		{"Update to no grace means the default", all(changes("stopGrace"), has(compute.FeatureLogs)), updateNoGrace},
		{"Update of the restart policy is told by Info", changes("restart.mode"), updateRestart},
		{"Update of a stopped instance's resources is there at its start", all(memory, has(compute.FeatureExec)), updateStopped},
		{"Update of a running instance's resources takes effect at once", all(memory, has(compute.FeatureUpdateLive, compute.FeatureExec)), updateLive},
		{"Update of a running machine's memory is what the guest has, within what it started with", all(memory, has(compute.FeatureUpdateLive, compute.FeatureExec)), updateLiveMachine},
		{"Update of a running container's processors takes effect at once", all(cpus, has(compute.FeatureUpdateLive, compute.FeatureExec)), updateLiveQuota},
		{"Update of a running machine's processors is what the guest has", all(cpus, has(compute.FeatureUpdateLive, compute.FeatureExec, compute.FeatureGuest)), updateLiveProcessors},
		{"Update for the next start leaves the run alone and stands in Pending", all(memory, has(compute.FeatureExec)), updateNextStart},
		{"Update of what waits for the next start has it take effect, and changes the revision", all(memory, has(compute.FeatureUpdateLive, compute.FeatureExec)), updateWhatWaits},
		{"Another provider value sees the change", changes("labels"), updateOther},
	}
}

func updateLabels(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Labels = resource.Labels{"keep": "1", "replace": "1", "remove": "1"}
	inst := e.create(spec)
	patch := labelsOf("replace", "2", "add", "2")
	patch["remove"] = nil
	patch["absent"] = nil
	require.NoError(e, inst.Update(e.ctx, compute.Change{Labels: patch}))
	want := resource.Labels{"keep": "1", "replace": "2", "add": "2"}
	info := e.info(inst)
	require.Equal(e, want, info.Labels)
	require.Equal(e, want, info.Spec.Labels)
}

func updateAnnotations(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Annotations = resource.Annotations{"keep": "1", "remove": "1"}
	inst := e.create(spec)
	text := "free text: ü, 'quotes', \"more\", <tags>, $(commands)\nand lines\t"
	require.NoError(e, inst.Update(e.ctx, compute.Change{Annotations: resource.LabelPatch{"note": &text, "remove": nil}}))
	want := resource.Annotations{"keep": "1", "note": text}
	info := e.info(inst)
	require.Equal(e, want, info.Annotations)
	require.Equal(e, want, info.Spec.Annotations)
}

func updateNothing(e *env) {
	inst := e.stopped("web")
	before := e.info(inst)
	require.NoError(e, inst.Update(e.ctx, compute.Change{}))
	after := e.info(inst)
	require.Equal(e, before.Spec, after.Spec)
	require.Equal(e, before.Labels, after.Labels)
	require.Equal(e, before.State, after.State)
}

func revisions(e *env) {
	inst := e.stopped("web")
	first := e.info(inst).Revision
	e.start(inst)
	e.kill(inst)
	require.Equal(e, first, e.info(inst).Revision, "a run changes no revision")
	seen := []string{first}
	for _, tier := range []string{"web", "db", "web"} {
		require.NoError(e, inst.Update(e.ctx, compute.Change{Labels: labelsOf("tier", tier), IfRevision: seen[len(seen)-1]}))
		revision := e.info(inst).Revision
		require.NotContains(e, seen, revision)
		seen = append(seen, revision)
	}
}

func updateAllOrNothing(e *env) {
	inst := e.stopped("web")
	before := e.info(inst)
	err := inst.Update(e.ctx, compute.Change{
		Labels:    labelsOf("tier", "web"),
		Resources: &compute.Resources{Memory: -1, PIDs: -1},
		Restart:   &compute.RestartPolicy{Mode: "often"},
	})
	e.failsField(err, errdefs.ErrInvalidArgument, "resources.memory")
	require.Len(e, resource.FaultsOf(err), 3)
	require.Equal(e, before, e.info(inst))
}

func updateUnsupported(e *env) {
	inst := e.stopped("web")
	before := e.info(inst)
	for path, c := range map[string]compute.Change{
		"resources.memory":      {Resources: &compute.Resources{Memory: 64 * resource.MiB}},
		"resources.cpus":        {Resources: &compute.Resources{CPUs: 1}},
		"resources.netTransmit": {Resources: &compute.Resources{NetTransmit: resource.MiB}},
		"resources.diskWrite":   {Resources: &compute.Resources{DiskWrite: resource.MiB}},
		"restart.mode":          {Restart: &compute.RestartPolicy{Mode: compute.RestartAlways}},
		"stopGrace":             {StopGrace: new(time.Second)},
	} {
		if e.s.offer.kindDescription().Changeable.Rule(path).Level != resource.FieldRefused {
			continue
		}
		c.Labels = labelsOf("tier", "web")
		e.failsField(inst.Update(e.ctx, c), errors.ErrUnsupported, path)
		require.Equal(e, before, e.info(inst))
	}
}

func updateGrace(e *env) {
	inst := e.ready("web", "ignore")
	require.NoError(e, inst.Update(e.ctx, compute.Change{StopGrace: new(shortGrace)}))
	require.Equal(e, shortGrace, e.info(inst).Spec.StopGrace)
	begun := time.Now()
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{}))
	require.GreaterOrEqual(e, time.Since(begun), shortGrace)
	require.Less(e, time.Since(begun), compute.DefaultGrace)
	e.forced(inst)
}

func updateNoGrace(e *env) {
	spec := e.spec("web", "ignore")
	spec.StopGrace = shortGrace
	inst := e.create(spec)
	e.start(inst)
	e.awaitLine(inst, "ready")
	require.NoError(e, inst.Update(e.ctx, compute.Change{StopGrace: new(time.Duration)}))
	ctx, cancel := context.WithTimeout(e.ctx, 2*shortGrace)
	defer cancel()
	e.cancelled(inst.Stop(ctx, compute.StopOptions{}), context.DeadlineExceeded)
	require.Contains(e, []compute.State{compute.Running, compute.Stopping}, e.info(inst).State)
}

func updateRestart(e *env) {
	inst := e.stopped("web")
	want := compute.RestartPolicy{Mode: compute.RestartOnFailure}
	require.NoError(e, inst.Update(e.ctx, compute.Change{Restart: &want}))
	require.Equal(e, want.Mode, e.info(inst).Spec.Restart.Mode)
}

// memoryOf makes a change of memory.
func memoryOf(bytes int64, apply compute.ApplyMode) compute.Change {
	return compute.Change{Resources: &compute.Resources{Memory: bytes}, Apply: apply}
}

// memoryLimit asks from inside what the memory is.
func (e *env) memoryLimit(inst compute.Instance) int64 {
	e.Helper()
	e.hasMemoryLimit()
	return report[guest.Limits](e, inst, "limits").Memory
}

func (e *env) hasMemoryLimit() {
	if e.s.kind() == compute.VM {
		panic(leftOut{"a guest sees memory and no bound on it"})
	}
}

const (
	smallMemory = 64 * resource.MiB
	largeMemory = 96 * resource.MiB
)

func updateStopped(e *env) {
	e.hasMemoryLimit()
	inst := e.stopped("web")
	require.NoError(e, inst.Update(e.ctx, memoryOf(smallMemory, "")))
	info := e.info(inst)
	require.Equal(e, smallMemory, info.Spec.Resources.Memory)
	e.start(inst)
	require.Equal(e, smallMemory, e.memoryLimit(inst))
	require.Empty(e, e.info(inst).Pending)
}

func updateLive(e *env) {
	e.hasMemoryLimit()
	for _, apply := range []compute.ApplyMode{compute.ApplyAuto, compute.ApplyLive} {
		inst := e.running("web-" + string(apply))
		require.NoError(e, inst.Update(e.ctx, memoryOf(smallMemory, apply)))
		require.Equal(e, smallMemory, e.memoryLimit(inst))
		require.NoError(e, inst.Update(e.ctx, memoryOf(largeMemory, apply)))
		require.Equal(e, largeMemory, e.memoryLimit(inst))
		info := e.info(inst)
		require.Empty(e, info.Pending)
		require.Equal(e, largeMemory, info.Spec.Resources.Memory)
		e.kill(inst)
		e.start(inst)
		require.Equal(e, largeMemory, e.memoryLimit(inst), "after another start")
	}
}

func updateNextStart(e *env) {
	e.hasMemoryLimit()
	spec := e.spec("web", "sleep", "1h")
	spec.Resources.Memory = largeMemory
	inst := e.create(spec)
	e.start(inst)
	require.NoError(e, inst.Update(e.ctx, memoryOf(smallMemory, compute.ApplyNextStart)))
	require.Equal(e, []string{"resources.memory"}, e.info(inst).Pending)
	require.Equal(e, largeMemory, e.memoryLimit(inst), "the run is left alone")
	e.kill(inst)
	e.start(inst)
	require.Equal(e, smallMemory, e.memoryLimit(inst))
	require.Empty(e, e.info(inst).Pending)
}

// memoryOfGuest asks a guest what memory it has.
func (e *env) memoryOfGuest(inst compute.Instance) int64 {
	e.Helper()
	for line := range strings.Lines(e.output(inst, "read", "/proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			require.NoError(e, err)
			return kib * resource.KiB
		}
	}
	require.Fail(e, "the guest tells nothing of its memory")
	return 0
}

func updateLiveMachine(e *env) {
	if e.s.kind() != compute.VM {
		panic(leftOut{"a container has no memory of its own"})
	}
	spec := e.spec("web", "sleep", "1h")
	spec.Resources.Memory = 256 * resource.MiB
	inst := e.create(spec)
	e.start(inst)
	begun := e.info(inst).Spec.Resources
	seen := e.memoryOfGuest(inst)
	change := func(memory int64, apply compute.ApplyMode) error {
		r := begun
		r.Memory = memory
		return inst.Update(e.ctx, compute.Change{Resources: &r, Apply: apply})
	}
	for _, apply := range []compute.ApplyMode{compute.ApplyLive, compute.ApplyAuto} {
		require.NoError(e, change(begun.Memory-64*resource.MiB, apply))
		require.Equal(e, seen-64*resource.MiB, e.memoryOfGuest(inst))
		require.Empty(e, e.info(inst).Pending)
		require.NoError(e, change(begun.Memory, apply))
		require.Equal(e, seen, e.memoryOfGuest(inst))
		require.Empty(e, e.info(inst).Pending)
	}
	before := e.info(inst)
	e.failsField(change(begun.Memory+64*resource.MiB, compute.ApplyLive), errdefs.ErrFailedPrecondition, "resources.memory")
	require.Equal(e, before, e.info(inst))
	require.NoError(e, change(begun.Memory+64*resource.MiB, compute.ApplyAuto))
	require.Equal(e, []string{"resources.memory"}, e.info(inst).Pending)
	require.Equal(e, seen, e.memoryOfGuest(inst))
}

func updateLiveQuota(e *env) {
	e.hasMemoryLimit()
	quota := func(inst compute.Instance) float64 { return report[guest.Limits](e, inst, "limits").CPUs }
	inst := e.running("web")
	for apply, cpus := range map[compute.ApplyMode]float64{compute.ApplyAuto: 0.5, compute.ApplyLive: 0.25} {
		require.NoError(e, inst.Update(e.ctx, compute.Change{Resources: &compute.Resources{CPUs: cpus}, Apply: apply}))
		require.Equal(e, cpus, quota(inst))
		require.Empty(e, e.info(inst).Pending)
	}
	now := e.info(inst).Spec.Resources.CPUs
	e.kill(inst)
	e.start(inst)
	require.Equal(e, now, quota(inst), "after another start")
}

// processorsOfGuest asks a guest how many processors it uses.
func (e *env) processorsOfGuest(inst compute.Instance) int {
	e.Helper()
	n := 0
	for line := range strings.Lines(e.output(inst, "read", "/proc/cpuinfo")) {
		if strings.HasPrefix(line, "processor") {
			n++
		}
	}
	return n
}

func updateLiveProcessors(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Resources.CPUs = 1
	inst := e.create(spec)
	e.start(inst)
	begun := e.info(inst).Spec.Resources
	change := func(cpus float64, apply compute.ApplyMode) error {
		r := begun
		r.CPUs = cpus
		return inst.Update(e.ctx, compute.Change{Resources: &r, Apply: apply})
	}
	has := func(n float64) {
		e.Helper()
		require.EqualValues(e, n, e.processorsOfGuest(inst))
		require.Empty(e, e.info(inst).Pending)
	}
	has(begun.CPUs)
	for _, apply := range []compute.ApplyMode{compute.ApplyLive, compute.ApplyAuto} {
		require.NoError(e, change(begun.CPUs+1, apply))
		has(begun.CPUs + 1)
		require.NoError(e, change(begun.CPUs, apply))
		has(begun.CPUs)
	}
	before := e.info(inst)
	e.failsField(change(begun.CPUs+0.5, compute.ApplyLive), errdefs.ErrInvalidArgument, "resources.cpus")
	require.Equal(e, before, e.info(inst))
	require.NoError(e, change(begun.CPUs+1, compute.ApplyNextStart))
	waits := e.info(inst)
	require.Equal(e, []string{"resources.cpus"}, waits.Pending)
	require.EqualValues(e, begun.CPUs, e.processorsOfGuest(inst))
	require.NoError(e, change(begun.CPUs+1, compute.ApplyLive))
	has(begun.CPUs + 1)
	require.NotEqual(e, waits.Revision, e.info(inst).Revision)
	require.NoError(e, change(begun.CPUs, compute.ApplyLive))
	e.kill(inst)
	e.start(inst)
	has(begun.CPUs)
}

func updateWhatWaits(e *env) {
	e.hasMemoryLimit()
	inst := e.running("web")
	require.NoError(e, inst.Update(e.ctx, memoryOf(smallMemory, compute.ApplyNextStart)))
	waits := e.info(inst)
	require.Equal(e, []string{"resources.memory"}, waits.Pending)
	require.NoError(e, inst.Update(e.ctx, memoryOf(smallMemory, compute.ApplyLive)))
	require.Equal(e, smallMemory, e.memoryLimit(inst))
	info := e.info(inst)
	require.Empty(e, info.Pending)
	require.NotEqual(e, waits.Revision, info.Revision)
	require.NoError(e, inst.Update(e.ctx, memoryOf(smallMemory, compute.ApplyLive)))
	require.Equal(e, info.Revision, e.info(inst).Revision, "nothing was left to change")
}

func updateOther(e *env) {
	inst := e.stopped("web")
	other := e.open(OpenOptions{}).Instances().Handle(inst.ID())
	before := e.info(other).Revision
	require.NoError(e, inst.Update(e.ctx, compute.Change{Labels: labelsOf("tier", "web")}))
	info := e.info(other)
	require.Equal(e, resource.Labels{"tier": "web"}, info.Labels)
	require.NotEqual(e, before, info.Revision)
	e.fails(other.Update(e.ctx, compute.Change{Labels: labelsOf("tier", "db"), IfRevision: before}), errdefs.ErrAborted)
}
