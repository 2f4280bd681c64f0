package providertest

import (
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// adoptCases take over what the library did not make. That a provider which is no
// Adopter says Unsupported is the matter of the capability cases.
func adoptCases() []testCase {
	adopt := all(canAdopt(), hook("Foreign"))
	return []testCase{
		{"Adopt gives what the library did not make an owner and keeps the rest", adopt, adoptKeeps},
		{"Adopt gives it the name and the labels that it is told", adopt, adoptNames},
		{"What was adopted goes through its life like any other", adopt, adoptLife},
		{"What was adopted is found by another provider value", adopt, adoptSeen},
		{"What was adopted is swept, and was not before", all(adopt, canSweep()), adoptSwept},
		{"A watch is told of what is adopted as Added", adopt, adoptWatched},
		{"Adopt takes a reference without an ID by its name", adopt, adoptByName},
		{"Adopt to a name that is taken is AlreadyExists and changes nothing", adopt, adoptNameTaken},
		{"Adopt with a malformed name and label reports both and changes nothing", adopt, adoptMalformed},
		{"A context that is done before Adopt changes nothing", adopt, adoptCancelled},
		{"Many Adopts of one instance at the same time leave it with one of the owners", adopt, adoptRace},
		{"Adopt of what is not there, or in another namespace, is NotFound", canAdopt(), adoptNothing},
		{"Adopt of what is managed makes this value the owner", canAdopt(), adoptManaged},
		{"Adopt of what is managed to another name is FailedPrecondition", canAdopt(), adoptRenames},
	}
}

// unmanaged reads the instances that the library did not make.
func (e *env) unmanaged() []compute.Info {
	e.Helper()
	infos, err := resource.Collect(e.instances().List(e.ctx, compute.Filter{Unmanaged: true}))
	require.NoError(e, err)
	var foreign []compute.Info
	for _, info := range infos {
		if !info.Managed {
			foreign = append(foreign, info)
		}
	}
	return foreign
}

// foreign makes an instance as another program would. A case that does not adopt
// it removes it by the function.
func (e *env) foreign() (compute.Info, func()) {
	e.Helper()
	remove, err := e.s.h.Foreign(e.ctx, e.lane.namespace)
	require.NoError(e, err, "make a foreign instance")
	all := e.unmanaged()
	require.Len(e, all, 1, "the foreign instance is listed on request")
	return all[0], func() {
		e.Helper()
		require.Equal(e, all, e.unmanaged(), "the foreign instance has changed")
		require.NoError(e, remove(e.ctx), "remove the foreign instance")
	}
}

// adopt takes an instance over.
func (e *env) adopt(ref resource.Ref, opts univirt.AdoptOptions) (compute.Instance, compute.Info) {
	e.Helper()
	got, err := univirt.Adopt(e.ctx, e.p, ref, opts)
	require.NoError(e, err)
	e.wellFormedRef(got, resource.KindInstance)
	inst := e.instances().Handle(got.ID)
	info := e.info(inst)
	require.Equal(e, got, info.Ref, "the reference that Adopt returns")
	return inst, info
}

func adoptKeeps(e *env) {
	foreign, _ := e.foreign()
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
	_, info := e.adopt(foreign.Ref, univirt.AdoptOptions{})
	require.True(e, info.Managed)
	require.Equal(e, e.describe().Owner, info.Owner)
	require.NotNil(e, info.Spec)
	require.Equal(e, foreign.Ref.Name, info.Ref.Name)
	require.Equal(e, foreign.Kind, info.Kind)
	require.Equal(e, foreign.State, info.State)
	require.Equal(e, foreign.Run, info.Run)
	require.Equal(e, foreign.Image, info.Image)
	require.Equal(e, foreign.Labels, info.Labels)
	require.True(e, foreign.Created.Equal(info.Created))
	require.Equal(e, []string{foreign.Ref.Name}, e.names(e.instances(), compute.Filter{}))
	require.Empty(e, e.unmanaged())
}

func adoptNames(e *env) {
	foreign, _ := e.foreign()
	labels := resource.Labels{"tier": "web"}
	inst, info := e.adopt(foreign.Ref, univirt.AdoptOptions{Name: "mine", Labels: labels})
	require.Equal(e, "mine", info.Ref.Name)
	require.Equal(e, labels, info.Labels)
	got, err := e.instances().Get(e.ctx, "mine")
	require.NoError(e, err)
	require.Equal(e, inst.ID(), got.ID())
	_, err = e.instances().Get(e.ctx, foreign.Ref.Name)
	e.fails(err, errdefs.ErrNotFound)
	web := compute.Filter{Selector: resource.Select(resource.Equals("tier", "web"))}
	require.Equal(e, []string{"mine"}, e.names(e.instances(), web))
}

func adoptLife(e *env) {
	foreign, _ := e.foreign()
	inst, _ := e.adopt(foreign.Ref, univirt.AdoptOptions{Name: "mine"})
	e.start(inst)
	e.inState(inst, compute.Running)
	require.NoError(e, inst.Update(e.ctx, compute.Change{Labels: labelsOf("tier", "web")}))
	require.Equal(e, resource.Labels{"tier": "web"}, e.info(inst).Labels)
	e.kill(inst)
	require.NoError(e, inst.Delete(e.ctx, compute.DeleteOptions{}), "without force")
	e.gone(inst, "mine")
	require.Empty(e, e.unmanaged())
}

func adoptSeen(e *env) {
	foreign, _ := e.foreign()
	other := e.open(OpenOptions{Owner: "somebody-else"})
	_, here := e.adopt(foreign.Ref, univirt.AdoptOptions{Name: "mine"})
	got, err := other.Instances().Get(e.ctx, "mine")
	require.NoError(e, err)
	there := e.info(got)
	require.Equal(e, here.Ref, there.Ref)
	require.Equal(e, here.Owner, there.Owner)
	require.Equal(e, here.Spec, there.Spec)
	require.True(e, there.Managed)
}

func adoptSwept(e *env) {
	foreign, _ := e.foreign()
	require.Empty(e, e.sweep(univirt.SweepOptions{All: true}))
	e.adopt(foreign.Ref, univirt.AdoptOptions{Name: "mine"})
	require.Empty(e, e.sweep(univirt.SweepOptions{}), "what is finished stays without All")
	require.Equal(e, []string{"mine"}, e.sweep(univirt.SweepOptions{All: true, Owner: owner}))
	require.Empty(e, e.unmanaged())
}

func adoptWatched(e *env) {
	foreign, _ := e.foreign()
	w := e.watch(e.p, onlyInstances)
	require.Empty(e, w.synced(), "a foreign instance is not watched")
	inst, _ := e.adopt(foreign.Ref, univirt.AdoptOptions{Name: "mine"})
	e.delete(inst)
	w.expect(moment{resource.EventAdded, "mine", "", compute.Stopped}, deleted("mine"))
}

func adoptByName(e *env) {
	foreign, _ := e.foreign()
	_, info := e.adopt(resource.Ref{Kind: resource.KindInstance, Name: foreign.Ref.Name}, univirt.AdoptOptions{})
	require.Equal(e, foreign.Ref.Name, info.Ref.Name)
}

func adoptNameTaken(e *env) {
	foreign, remove := e.foreign()
	inst := e.stopped("web")
	_, err := univirt.Adopt(e.ctx, e.p, foreign.Ref, univirt.AdoptOptions{Name: "web"})
	re := e.failsField(err, errdefs.ErrAlreadyExists, "name")
	require.Equal(e, "adopt", re.Op)
	got, err := e.instances().Get(e.ctx, "web")
	require.NoError(e, err)
	require.Equal(e, inst.ID(), got.ID())
	remove()
}

func adoptMalformed(e *env) {
	foreign, remove := e.foreign()
	_, err := univirt.Adopt(e.ctx, e.p, foreign.Ref, univirt.AdoptOptions{Name: "../web", Labels: resource.Labels{"a b": "x"}})
	e.failsField(err, errdefs.ErrInvalidArgument, "name")
	require.Len(e, resource.FaultsOf(err), 2)
	remove()
}

func adoptCancelled(e *env) {
	foreign, remove := e.foreign()
	for _, ctx := range e.doneContexts() {
		_, err := univirt.Adopt(ctx, e.p, foreign.Ref, univirt.AdoptOptions{Name: "mine"})
		e.cancelled(err, ctx.Err())
	}
	remove()
}

func adoptRace(e *env) {
	foreign, _ := e.foreign()
	values := []univirt.Provider{e.p, e.open(OpenOptions{Owner: "somebody-else"})}
	for _, err := range e.together(crowd, func(i int) error {
		_, err := univirt.Adopt(e.ctx, values[i%2], foreign.Ref, univirt.AdoptOptions{})
		return err
	}) {
		require.NoError(e, err)
	}
	infos, err := resource.Collect(e.instances().List(e.ctx, compute.Filter{Unmanaged: true}))
	require.NoError(e, err)
	require.Len(e, infos, 1)
	require.True(e, infos[0].Managed)
	require.Contains(e, []string{owner, "somebody-else"}, infos[0].Owner.Name)
}

func adoptNothing(e *env) {
	here := e.stopped("web")
	there, err := e.otherNamespace().Instances().Create(e.ctx, e.spec("web", "sleep", "1h"))
	require.NoError(e, err)
	elsewhere := e.info(there).Ref
	for _, ref := range []resource.Ref{
		{Kind: resource.KindInstance, Name: "nobody"},
		{Kind: resource.KindInstance, ID: absentID},
		elsewhere,
		{Kind: resource.KindInstance, Namespace: elsewhere.Namespace, Name: "web"},
	} {
		_, err := univirt.Adopt(e.ctx, e.p, ref, univirt.AdoptOptions{Labels: resource.Labels{"tier": "web"}})
		re := e.fails(err, errdefs.ErrNotFound)
		require.Equal(e, "adopt", re.Op)
	}
	require.Empty(e, e.info(here).Labels)
	require.Empty(e, e.info(there).Labels)
}

func adoptManaged(e *env) {
	other := e.open(OpenOptions{Owner: "somebody-else"})
	inst, err := other.Instances().Create(e.ctx, e.spec("web", "sleep", "1h"))
	require.NoError(e, err)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	before := e.info(inst)
	require.Equal(e, "somebody-else", before.Owner.Name)
	_, after := e.adopt(before.Ref, univirt.AdoptOptions{})
	require.Equal(e, e.describe().Owner, after.Owner)
	require.Equal(e, before.Ref, after.Ref)
	require.Equal(e, before.Spec, after.Spec)
	require.Equal(e, before.State, after.State)
	require.Equal(e, before.Run, after.Run)
	_, again := e.adopt(before.Ref, univirt.AdoptOptions{})
	require.Equal(e, after.Owner, again.Owner)
}

func adoptRenames(e *env) {
	inst := e.stopped("web")
	before := e.info(inst)
	_, err := univirt.Adopt(e.ctx, e.p, before.Ref, univirt.AdoptOptions{Name: "mine"})
	e.failsField(err, errdefs.ErrFailedPrecondition, "name")
	require.Equal(e, before, e.info(inst))
	_, same := e.adopt(before.Ref, univirt.AdoptOptions{Name: "web"})
	require.Equal(e, "web", same.Ref.Name)
}
