package providertest

import (
	"context"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func listCases() []testCase {
	return []testCase{
		{"List of nothing yields nothing", nil, func(e *env) {
			require.Empty(e, e.names(e.instances(), compute.Filter{}))
		}},
		{"List yields what Info says of each instance", nil, listEqualsInfo},
		{"A filter lets through what meets each of its fields", fields("labels"), filters},
		{"A filter is met by what is now, not by what was", changes("labels"), filterIsPresent},
		{"A filter by state follows the state", nil, filterByState},
		{"A filter by image takes names and digests", hook("Image"), filterByImage},
		{"Calling List does nothing, and each range starts anew", nil, listIsLazy},
		{"A loop over a list may be left early", nil, listEarlyBreak},
		{"Instances may be changed and deleted while they are listed", nil, listWhileDeleting},
		{"An error of a list is yielded once, last", nil, listErrorOnce},
		{"A list ends with its context", nil, listEndsWithContext},
	}
}

func listEqualsInfo(e *env) {
	want := map[string]compute.Info{}
	for _, inst := range []compute.Instance{e.stopped("a"), e.running("b"), e.ended("c", "exit", "4")} {
		info := e.info(inst)
		want[info.Ref.ID] = info
	}
	infos, err := resource.Collect(e.instances().List(e.ctx, compute.Filter{}))
	require.NoError(e, err)
	require.Len(e, infos, len(want))
	for _, info := range infos {
		require.Equal(e, want[info.Ref.ID], info)
	}
}

func filters(e *env) {
	ids := map[string]string{}
	for name, labels := range map[string]resource.Labels{
		"a": {"tier": "web", "zone": "x"},
		"b": {"tier": "web", "zone": "y"},
		"c": {"tier": "db"},
		"d": nil,
	} {
		spec := e.spec(name, "sleep", "1h")
		spec.Labels = labels
		ids[name] = e.create(spec).ID()
	}
	all := []string{"a", "b", "c", "d"}
	tier := func(r ...resource.Requirement) compute.Filter {
		return compute.Filter{Selector: resource.Select(r...)}
	}
	for _, c := range []struct {
		says   string
		filter compute.Filter
		want   []string
	}{
		{"nothing", compute.Filter{}, all},
		{"names", compute.Filter{Names: []string{"a", "c", "nobody"}}, []string{"a", "c"}},
		{"a name twice", compute.Filter{Names: []string{"a", "a"}}, []string{"a"}},
		{"an unknown name", compute.Filter{Names: []string{"nobody"}}, []string{}},
		{"IDs", compute.Filter{IDs: []string{ids["b"], absentID}}, []string{"b"}},
		{"names and IDs", compute.Filter{Names: []string{"a"}, IDs: []string{ids["b"]}}, []string{}},
		{"the kind", compute.Filter{Kinds: []compute.Kind{e.s.kind()}}, all},
		{"another kind", compute.Filter{Kinds: []compute.Kind{otherKind(e.s.kind())}}, []string{}},
		{"a value", tier(resource.Equals("tier", "web")), []string{"a", "b"}},
		{"another value", tier(resource.NotEquals("tier", "web")), []string{"c", "d"}},
		{"some values", tier(resource.In("tier", "web", "db")), []string{"a", "b", "c"}},
		{"none of some values", tier(resource.NotIn("tier", "db")), []string{"a", "b", "d"}},
		{"a key", tier(resource.Exists("zone")), []string{"a", "b"}},
		{"no key", tier(resource.DoesNotExist("zone")), []string{"c", "d"}},
		{"two requirements", tier(resource.Equals("tier", "web"), resource.Equals("zone", "y")), []string{"b"}},
		{"requirements that exclude each other", tier(resource.Exists("zone"), resource.DoesNotExist("zone")), []string{}},
		{"labels, names and state", compute.Filter{Names: []string{"a", "b"}, States: []compute.State{compute.Stopped}, Selector: resource.Select(resource.Equals("zone", "x"))}, []string{"a"}},
	} {
		got := e.names(e.instances(), c.filter)
		require.ElementsMatch(e, c.want, got, "a filter of %s", c.says)
	}
}

func filterIsPresent(e *env) {
	inst := e.stopped("web")
	web := compute.Filter{Selector: resource.Select(resource.Equals("tier", "web"))}
	require.Empty(e, e.names(e.instances(), web))
	require.NoError(e, inst.Update(e.ctx, compute.Change{Labels: labelsOf("tier", "web")}))
	require.Equal(e, []string{"web"}, e.names(e.instances(), web))
	require.NoError(e, inst.Update(e.ctx, compute.Change{Labels: resource.LabelPatch{"tier": nil}}))
	require.Empty(e, e.names(e.instances(), web))
}

func filterByState(e *env) {
	e.stopped("stopped")
	inst := e.running("running")
	running := compute.Filter{States: []compute.State{compute.Running}}
	require.Equal(e, []string{"running"}, e.names(e.instances(), running))
	require.ElementsMatch(e, []string{"running", "stopped"},
		e.names(e.instances(), compute.Filter{States: []compute.State{compute.Running, compute.Stopped}}))
	e.kill(inst)
	require.Empty(e, e.names(e.instances(), running))
}

func filterByImage(e *env) {
	info := e.info(e.stopped("web"))
	for _, image := range []string{info.Image.Name, info.Image.ID} {
		require.Equal(e, []string{"web"}, e.names(e.instances(), compute.Filter{Images: []string{image}}), "by %s", image)
	}
	require.Empty(e, e.names(e.instances(), compute.Filter{Images: []string{"docker.io/library/other:1"}}))
}

func listIsLazy(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	list := e.instances().List(ctx, compute.Filter{})
	e.stopped("a")
	count := func() int {
		n := 0
		for _, err := range list {
			require.NoError(e, err)
			n++
		}
		return n
	}
	require.Equal(e, 1, count())
	e.stopped("b")
	require.Equal(e, 2, count())
}

func listEarlyBreak(e *env) {
	for _, name := range []string{"a", "b", "c"} {
		e.stopped(name)
	}
	for range 3 {
		n := 0
		for _, err := range e.instances().List(e.ctx, compute.Filter{}) {
			require.NoError(e, err)
			n++
			break
		}
		require.Equal(e, 1, n)
	}
	require.Len(e, e.names(e.instances(), compute.Filter{}), 3)
}

func listWhileDeleting(e *env) {
	names := []string{"a", "b", "c", "d"}
	for _, name := range names {
		e.stopped(name)
	}
	var seen []string
	err := e.returns("a list whose reader deletes", func() error {
		for info, err := range e.instances().List(e.ctx, compute.Filter{}) {
			if err != nil {
				return err
			}
			seen = append(seen, info.Ref.Name)
			if err := e.instances().Handle(info.Ref.ID).Delete(e.ctx, compute.DeleteOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(e, err)
	slices.Sort(seen)
	require.Equal(e, names, seen)
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func listErrorOnce(e *env) {
	e.stopped("a")
	for _, ctx := range e.doneContexts() {
		yields := 0
		for info, err := range e.instances().List(ctx, compute.Filter{}) {
			yields++
			e.cancelled(err, ctx.Err())
			require.Zero(e, info.Ref)
		}
		require.Equal(e, 1, yields, "how often the error was yielded")
	}
}

func listEndsWithContext(e *env) {
	for _, name := range []string{"a", "b", "c"} {
		e.stopped(name)
	}
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	yields := 0
	var last error
	for _, err := range e.instances().List(ctx, compute.Filter{}) {
		require.NoError(e, last, "something is yielded after an error")
		yields++
		last = err
		cancel()
	}
	// What was read already may still be yielded.
	require.LessOrEqual(e, yields, 4)
	if last != nil {
		e.cancelled(last, context.Canceled)
	}
}

func otherKind(kind compute.Kind) compute.Kind {
	if kind == compute.VM {
		return compute.Container
	}
	return compute.VM
}
