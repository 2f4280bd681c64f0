package providertest

import (
	"context"
	"iter"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// cutElsewhere are the operations that have a case of their own for a context that
// ends in their middle, which looks closer.
var cutElsewhere = map[string]bool{
	"start": true, "stop": true, "update": true, "exec": true, "delete by force": true, "wait": true,
}

// cutFrom returns the way into a state in which an operation has something to do.
func cutFrom(o operation) way {
	if o.op == "" {
		return waysInto[compute.Running]
	}
	for _, state := range []compute.State{compute.Running, compute.Paused, compute.Stopped} {
		if t, ok := compute.Next(state, o.op); ok && !t.NoOp {
			return waysInto[state]
		}
	}
	panic("providertest: there is no state in which one can " + o.name)
}

// tolerated is an operation whose own failure is as good as success: what it needs
// beside the instance may not be there.
func tolerated(err error) error {
	if contextError(err) {
		return err
	}
	return nil
}

// cutOperation does an operation to instances with contexts that end in its
// middle, and after it. What is as it was has it done to it again.
func cutOperation(e *env, o operation) {
	var inst compute.Instance
	var before compute.Info
	var there []string
	ready, lasting := false, slices.Contains(reading, o.name)
	cancelledAt(e,
		func(int) compute.Instance {
			if !ready {
				inst = subject(o)(e)
				before, there = e.info(inst), e.names(e.instances(), compute.Filter{})
				ready = true
			}
			return inst
		},
		func(ctx context.Context, inst compute.Instance) error { return tolerated(o.do(ctx, e, inst)) },
		func(inst compute.Instance, err error) {
			defer func() {
				if ready = lasting || err != nil && o.name != "console" && untouched(e, inst, before); !ready {
					e.vacate()
				}
			}()
			t, inTable := compute.Next(before.State, o.op)
			if !inTable {
				t.To = before.State
			}
			if _, infoErr := inst.Info(e.ctx); isNotFound(infoErr) {
				require.Equal(e, compute.Gone, t.To, "the instance is gone")
				return
			}
			allowed := []compute.State{before.State, t.To}
			switch {
			case err == nil:
				allowed = []compute.State{t.To}
			case o.op == compute.OpRestart:
				// It stops it first, and may end there.
				allowed = append(allowed, compute.Stopped)
			}
			e.settles(inst, allowed...)
			if err != nil {
				after := e.info(inst)
				require.Equal(e, before.Spec, after.Spec)
				require.Equal(e, before.Endpoints, after.Endpoints)
				require.Equal(e, there, e.names(e.instances(), compute.Filter{}))
				e.noSnapshots(inst)
			}
		})
}

// untouched reports whether an instance is in the state, of the run, and of the
// revision that it was.
func untouched(e *env, inst compute.Instance, before compute.Info) bool {
	after, err := inst.Info(e.ctx)
	return err == nil && before.State == after.State && before.Run == after.Run && before.Revision == after.Revision
}

// vacate deletes all instances; the provider may be about to take back one of them.
func (e *env) vacate() {
	e.Helper()
	infos, err := resource.Collect(e.instances().List(e.ctx, compute.Filter{}))
	require.NoError(e, err)
	for _, info := range infos {
		err := e.instances().Handle(info.Ref.ID).Delete(e.ctx, compute.DeleteOptions{Force: true})
		if !isNotFound(err) {
			require.NoError(e, err, "delete %s by force", info.Ref.Name)
		}
	}
}

// noSnapshots requires an instance to have none, where it could.
func (e *env) noSnapshots(inst compute.Instance) {
	e.Helper()
	if !e.offers(compute.FeatureSnapshot) {
		return
	}
	// The provider may be about to take one back.
	e.eventually("there are no snapshots", func() bool {
		all, err := resource.Collect(e.snapshots(inst).Snapshots(e.ctx))
		require.NoError(e, err)
		return len(all) == 0
	})
}

// cutProviderOperation asks something of a provider with contexts that end in the
// middle, and after it.
func cutProviderOperation(e *env, o providerOperation) {
	before := e.everything()
	cancelledAt(e, func(int) struct{} { return struct{}{} },
		func(ctx context.Context, _ struct{}) error { return tolerated(o.do(ctx, e, e.p)) },
		func(_ struct{}, err error) {
			after := e.everything()
			if err != nil {
				require.Equal(e, before, after, "what there is after a call that was cancelled")
				return
			}
			require.NoError(e, e.lane.clean(e.ctx, e.lane.images))
		})
	require.Equal(e, before, e.everything())
}

// cutting is an operation on something else than an instance that is cancelled in
// its middle.
type cutting struct {
	name  string
	needs []need
	// undone says that the operation leaves nothing where it fails: it makes
	// something. What changes something may leave either.
	undone bool
	do     func(context.Context) error
}

// wholeOrNot does an operation with contexts that end in its middle, on what
// prepare makes, and requires that there is what was there before or what is there
// afterwards, as shape tells it.
func (e *env) wholeOrNot(c cutting, shape func() string, prepare func()) {
	e.Helper()
	if e.lacks(c.needs) {
		return
	}
	var before, whole string
	seen := false
	cancelledAt(e,
		func(int) struct{} {
			prepare()
			before = shape()
			return struct{}{}
		},
		func(ctx context.Context, _ struct{}) error { return c.do(ctx) },
		func(_ struct{}, err error) {
			now := shape()
			switch {
			case !seen:
				whole, seen = now, true
				require.NotEqual(e, before, whole, "%s does nothing", c.name)
			case err == nil:
				require.Equal(e, whole, now, "after %s", c.name)
			case c.undone:
				require.Equal(e, before, now, "after %s that was cancelled", c.name)
			default:
				require.Contains(e, []string{before, whole}, now, "after %s that was cancelled", c.name)
			}
			require.NoError(e, e.lane.clean(e.ctx, e.lane.images))
		})
}

// everything lists what there is in the namespace, of all kinds.
func (e *env) everything() []string {
	e.Helper()
	all := slices.Concat(
		refs(e, e.p.Instances().List(e.ctx, compute.Filter{Unmanaged: true}), func(i compute.Info) resource.Ref { return i.Ref }),
		refs(e, e.p.Images().List(e.ctx, compute.ImageFilter{}), func(i compute.Image) resource.Ref { return i.Ref }),
		refs(e, e.p.Volumes().List(e.ctx, storage.Filter{}), func(i storage.Info) resource.Ref { return i.Ref }),
		refs(e, e.p.Networks().List(e.ctx, network.Filter{}), func(i network.Info) resource.Ref { return i.Ref }),
	)
	slices.Sort(all)
	return all
}

// refs lists the references of what a list yields; nothing where the provider has
// no such kind.
func refs[T any](e *env, list iter.Seq2[T, error], ref func(T) resource.Ref) []string {
	e.Helper()
	items, err := resource.Collect(list)
	if !isUnsupported(err) {
		require.NoError(e, err)
	}
	var all []string
	for _, item := range items {
		all = append(all, ref(item).String())
	}
	return all
}
