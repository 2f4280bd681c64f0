package providertest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func errorCases() []testCase {
	cases := []testCase{
		{"Create with an image that is not there and not to be pulled is NotFound and names image", hook("Image"), createWithoutImage},
		{"Create with a digest that is not there is NotFound and names image", hook("Image"), createWithoutDigest},
		{"An unknown user is InvalidArgument and names process.user", fields("process.user"), unknownUser},
		{"A stale revision is Aborted and changes nothing", nil, staleRevisions},
		{"Arguments are checked before existence", nil, argumentsFirst},
		{"Existence is checked before the revision", nil, existenceBeforeRevision},
		{"The revision is checked before the state", nil, revisionBeforeState},
		{"A NotFound tells the namespace that was looked in", nil, notFoundTellsWhere},
		{"An error survives wrapping, and its message is one line", nil, errorsReadWell},
	}
	for _, b := range badOptions() {
		cases = append(cases, testCase{
			name:  fmt.Sprintf("%s is InvalidArgument and names %s", b.says, b.field),
			needs: b.needs,
			run: func(e *env) {
				inst := e.bystander()
				before := e.info(inst)
				e.failsField(b.do(e.ctx, e, inst), errdefs.ErrInvalidArgument, b.field)
				after := e.info(inst)
				require.Equal(e, before.State, after.State)
				require.Equal(e, before.Revision, after.Revision)
				require.Equal(e, before.Labels, after.Labels)
			},
		})
	}
	return cases
}

// badOption is a call with an argument at fault.
type badOption struct {
	says, field string
	needs       []need
	do          func(ctx context.Context, e *env, inst compute.Instance) error
}

func badOptions() []badOption {
	stop := func(opts compute.StopOptions) func(context.Context, *env, compute.Instance) error {
		return func(ctx context.Context, _ *env, inst compute.Instance) error { return inst.Stop(ctx, opts) }
	}
	update := func(c compute.Change) func(context.Context, *env, compute.Instance) error {
		return func(ctx context.Context, _ *env, inst compute.Instance) error { return inst.Update(ctx, c) }
	}
	exec := func(spec compute.ExecSpec) func(context.Context, *env, compute.Instance) error {
		return func(ctx context.Context, e *env, inst compute.Instance) error {
			_, err := e.launch(ctx, inst, spec)
			return err
		}
	}
	logs := func(opts compute.LogOptions) func(context.Context, *env, compute.Instance) error {
		return func(ctx context.Context, _ *env, inst compute.Instance) error {
			_, err := resource.Collect(compute.Logs(ctx, inst, opts))
			return err
		}
	}
	watch := func(opts resource.WatchOptions) func(context.Context, *env, compute.Instance) error {
		return func(ctx context.Context, e *env, _ compute.Instance) error {
			for _, err := range e.p.Watch(ctx, opts) {
				return err
			}
			return nil
		}
	}
	badSelector := resource.Select(resource.Requirement{Key: "a b", Operator: resource.OpExists})
	withEnv := guestExec("exit", "0")
	withEnv.Process.Env = map[string]string{"A=B": "x"}
	withSize := guestExec("exit", "0")
	withSize.Size = compute.TerminalSize{Width: 80, Height: 24}
	withDrain := guestExec("exit", "0")
	withDrain.Drain = -time.Second
	return []badOption{
		{"Stop with a negative grace", "grace", nil, stop(compute.StopOptions{Grace: -1})},
		{"Stop with an unknown signal", "signal", nil, stop(compute.StopOptions{Signal: "SIGNOTHING"})},
		{"Update to negative memory", "resources.memory", nil, update(compute.Change{Resources: &compute.Resources{Memory: -1}})},
		{"Update with a malformed label", `labels["a b"]`, nil, update(compute.Change{Labels: labelsOf("a b", "x", "good", "x")})},
		{"Update of a reserved label", "labels[univirt.io/owner]", nil, update(compute.Change{Labels: labelsOf("univirt.io/owner", "me")})},
		{"Update with an unknown mode", "apply", nil, update(compute.Change{Apply: "tomorrow", Labels: labelsOf("good", "x")})},
		{"Update to a negative grace", "stopGrace", nil, update(compute.Change{StopGrace: new(time.Duration(-1)), Labels: labelsOf("good", "x")})},
		{"List with a malformed selector", "selector[0].key", nil, func(ctx context.Context, e *env, _ compute.Instance) error {
			_, err := resource.Collect(e.instances().List(ctx, compute.Filter{Selector: badSelector}))
			return err
		}},
		{"List of an unknown kind", "kinds[1]", nil, func(ctx context.Context, e *env, _ compute.Instance) error {
			_, err := resource.Collect(e.instances().List(ctx, compute.Filter{Kinds: []compute.Kind{compute.VM, "jail"}}))
			return err
		}},
		{"List of an unknown state", "states[0]", nil, func(ctx context.Context, e *env, _ compute.Instance) error {
			_, err := resource.Collect(e.instances().List(ctx, compute.Filter{States: []compute.State{"asleep"}}))
			return err
		}},
		{"Stats with a malformed selector", "selector[0].key", has(compute.FeatureStats), func(ctx context.Context, e *env, _ compute.Instance) error {
			_, err := resource.Collect(e.instances().Stats(ctx, compute.Filter{Selector: badSelector}))
			return err
		}},
		{"Watch with a malformed selector", "selector[0].key", nil, watch(resource.WatchOptions{Selector: badSelector})},
		{"Watch with a negative buffer", "buffer", nil, watch(resource.WatchOptions{Buffer: -1})},
		{"Watch of a kind that is none", "kinds[0]", nil, watch(resource.WatchOptions{Kinds: []resource.Kind{"instances"}})},
		{"Exec of nothing", "process.command", has(compute.FeatureExec), exec(compute.ExecSpec{})},
		{"Exec with a malformed variable", "process.env[A=B]", has(compute.FeatureExec), exec(withEnv)},
		{"Exec with the size of a terminal that is not asked for", "size", has(compute.FeatureExec), exec(withSize)},
		{"Exec with a negative drain", "drain", has(compute.FeatureExec), exec(withDrain)},
		{"Logs with a negative tail", "tail", has(compute.FeatureLogs), logs(compute.LogOptions{Tail: -1})},
		{"Logs of an unknown stream", "streams[0]", has(compute.FeatureLogs), logs(compute.LogOptions{Streams: []compute.Stream{"stdlog"}})},
		{"A clone with a malformed name", "name", has(compute.FeatureClone), func(ctx context.Context, _ *env, inst compute.Instance) error {
			_, err := compute.Clone(ctx, inst, compute.CloneOptions{Name: "a/b"})
			return err
		}},
		{"A snapshot with a malformed name", "name", has(compute.FeatureSnapshot), func(ctx context.Context, _ *env, inst compute.Instance) error {
			s, err := compute.Snapshots(inst)
			if err != nil {
				return err
			}
			_, err = s.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "a/b"})
			return err
		}},
		{"Pull of a malformed reference", "image", hasImages(compute.FeaturePull), func(ctx context.Context, e *env, _ compute.Instance) error {
			_, err := e.p.Images().Pull(ctx, "UPPER/case", compute.PullOptions{})
			return err
		}},
		{"Import without a stream", "reader", hasImages(compute.FeatureImport), func(ctx context.Context, e *env, _ compute.Instance) error {
			_, err := e.p.Images().Import(ctx, compute.ImageSource{Format: compute.OCIArchive}, compute.ImportOptions{})
			return err
		}},
		{"Import of an unknown format", "format", hasImages(compute.FeatureImport), func(ctx context.Context, e *env, _ compute.Instance) error {
			_, err := e.p.Images().Import(ctx, compute.ImageSource{Reader: bytes.NewReader(nil), Format: "zip"}, compute.ImportOptions{})
			return err
		}},
	}
}

func createWithoutImage(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Image = "localhost:1/no/such:image"
	_, err := e.instances().Create(e.ctx, spec)
	re := e.failsField(err, errdefs.ErrNotFound, "image")
	require.Contains(e, re.Error(), spec.Image, "the message names the image")
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func createWithoutDigest(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Image = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	_, err := e.instances().Create(e.ctx, spec)
	e.failsField(err, errdefs.ErrNotFound, "image")
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func unknownUser(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Process.User = "nobody-such"
	inst, err := e.instances().Create(e.ctx, spec)
	if err == nil {
		// The provider cannot look into the image.
		err = inst.Start(e.ctx, compute.StartOptions{})
		e.inState(inst, compute.Stopped)
		e.delete(inst)
	}
	e.failsField(err, errdefs.ErrInvalidArgument, "process.user")
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func staleRevisions(e *env) {
	inst := e.stopped("web")
	stale := e.info(inst).Revision
	require.NoError(e, inst.Update(e.ctx, compute.Change{Labels: labelsOf("tier", "web")}))
	before := e.info(inst)
	require.NotEqual(e, stale, before.Revision)
	for name, err := range map[string]error{
		"start":  inst.Start(e.ctx, compute.StartOptions{IfRevision: stale}),
		"update": inst.Update(e.ctx, compute.Change{Labels: labelsOf("tier", "db"), IfRevision: stale}),
		"delete": inst.Delete(e.ctx, compute.DeleteOptions{IfRevision: stale}),
	} {
		re := e.fails(err, errdefs.ErrAborted)
		require.Equal(e, name, re.Op)
	}
	require.Equal(e, before, e.info(inst))
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{IfRevision: before.Revision}))
	require.Equal(e, before.Revision, e.info(inst).Revision, "a start changes no revision")
}

func argumentsFirst(e *env) {
	inst := e.instances().Handle(absentID)
	e.failsField(inst.Stop(e.ctx, compute.StopOptions{Grace: -1}), errdefs.ErrInvalidArgument, "grace")
	e.failsField(inst.Update(e.ctx, compute.Change{Apply: "tomorrow"}), errdefs.ErrInvalidArgument, "apply")
}

func existenceBeforeRevision(e *env) {
	inst := e.instances().Handle(absentID)
	e.fails(inst.Start(e.ctx, compute.StartOptions{IfRevision: "none"}), errdefs.ErrNotFound)
	e.fails(inst.Delete(e.ctx, compute.DeleteOptions{IfRevision: "none"}), errdefs.ErrNotFound)
}

func revisionBeforeState(e *env) {
	inst := e.running("web")
	e.fails(inst.Delete(e.ctx, compute.DeleteOptions{IfRevision: "none"}), errdefs.ErrAborted)
}

func notFoundTellsWhere(e *env) {
	_, byName := e.instances().Get(e.ctx, "absent")
	_, byID := e.instances().Get(e.ctx, absentID)
	_, byHandle := e.instances().Handle(absentID).Info(e.ctx)
	for _, err := range []error{byName, byID, byHandle} {
		re := e.fails(err, errdefs.ErrNotFound)
		require.Equal(e, e.lane.namespace, re.Ref.Namespace, "the namespace of: %v", err)
		require.Contains(e, re.Error(), e.lane.namespace)
	}
}

func errorsReadWell(e *env) {
	inst := e.running("web")
	re := e.fails(inst.Delete(e.ctx, compute.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	require.True(e, strings.HasPrefix(re.Error(), `delete instance "web": `), re.Error())
	require.NotContains(e, re.Error(), "\n")
	require.Equal(e, e.info(inst).Ref, re.Ref)
	require.Equal(e, resource.NotDone, re.Outcome)
	require.Empty(e, re.Left)
	wrapped := fmt.Errorf("try: %w", re)
	require.True(e, errdefs.IsFailedPrecondition(wrapped))
	require.Equal(e, errdefs.ErrFailedPrecondition, resource.KindOf(wrapped))
}
