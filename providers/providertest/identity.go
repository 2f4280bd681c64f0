package providertest

import (
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func identityCases() []testCase {
	cases := []testCase{
		{"An ID is a UUID that no other instance has", nil, idsDiffer},
		{"Get takes an ID or a name", nil, getByEither},
		{"Get of an unknown name or ID is NotFound", nil, getUnknown},
		{"Get of what is neither an ID nor a name is InvalidArgument", nil, getMalformed},
		{"Create of a name that exists is AlreadyExists and changes nothing", nil, nameTaken},
		{"A name with the shape of an ID is InvalidArgument", nil, nameLikeID},
		{"A name may have 63 bytes", nil, longestName},
		{"A handle is bound to its ID: after delete and create of the name it says NotFound", nil, handleBound},
		{"Handle makes no call, and what is not there says NotFound later", nil, handleOfNothing},
		{"A name is free again after Delete", nil, nameFree},
		{"A namespace does not see what is in another", nil, namespacesApart},
		{"Another provider value finds what one made, as it is", nil, otherValueFinds},
		{"Another provider value can do all that the maker can", nil, otherValueActs},
		{"What one made is there after Close", nil, outlivesClose},
		{"Each Open is a generation of its own", nil, generations},
		{"What the library did not make is listed on request only, and not changed without force", hook("Foreign"), foreignLeftAlone},
	}
	for _, o := range operations() {
		cases = append(cases, testCase{
			name:  "The handle of a deleted instance says NotFound to " + o.name,
			needs: o.needs,
			run:   func(e *env) { handleGone(e, o) },
		})
	}
	return cases
}

func idsDiffer(e *env) {
	a, b := e.stopped("a"), e.stopped("b")
	require.True(e, resource.IsID(a.ID()), "%q is no ID", a.ID())
	require.True(e, resource.IsID(b.ID()), "%q is no ID", b.ID())
	require.NotEqual(e, a.ID(), b.ID())
	require.Equal(e, a.ID(), a.ID())
}

func getByEither(e *env) {
	inst := e.stopped("web")
	for _, idOrName := range []string{"web", inst.ID()} {
		got, err := e.instances().Get(e.ctx, idOrName)
		require.NoError(e, err)
		require.Equal(e, inst.ID(), got.ID())
		require.Equal(e, "web", e.info(got).Ref.Name)
	}
}

func getUnknown(e *env) {
	for _, idOrName := range []string{"nobody", absentID} {
		_, err := e.instances().Get(e.ctx, idOrName)
		re := e.fails(err, errdefs.ErrNotFound)
		require.Equal(e, "get", re.Op)
		require.Contains(e, re.Error(), idOrName, "the message names what was looked for")
	}
}

func getMalformed(e *env) {
	for _, idOrName := range append(malformedNames(), strings.ToUpper(absentID)) {
		_, err := e.instances().Get(e.ctx, idOrName)
		e.failsField(err, errdefs.ErrInvalidArgument, "idOrName")
	}
}

func nameTaken(e *env) {
	inst := e.stopped("web")
	before := e.info(inst)
	_, err := e.instances().Create(e.ctx, e.spec("web", "sleep", "1h"))
	re := e.failsField(err, errdefs.ErrAlreadyExists, "name")
	require.Equal(e, "create", re.Op)
	require.Equal(e, "web", re.Ref.Name)
	require.Equal(e, []string{"web"}, e.names(e.instances(), compute.Filter{}))
	after := e.info(inst)
	require.Equal(e, before.Spec, after.Spec)
	e.start(inst)
}

func nameLikeID(e *env) {
	_, err := e.instances().Create(e.ctx, e.spec(absentID, "sleep", "1h"))
	e.failsField(err, errdefs.ErrInvalidArgument, "name")
}

func longestName(e *env) {
	name := strings.Repeat("a", resource.MaxNameLength)
	inst := e.stopped(name)
	require.Equal(e, name, e.info(inst).Ref.Name)
	e.start(inst)
	e.inState(inst, compute.Running)
}

func handleBound(e *env) {
	old := e.stopped("web")
	require.NoError(e, old.Delete(e.ctx, compute.DeleteOptions{}))
	inst := e.stopped("web")
	require.NotEqual(e, old.ID(), inst.ID())
	_, err := old.Info(e.ctx)
	re := e.fails(err, errdefs.ErrNotFound)
	require.Equal(e, old.ID(), re.Ref.ID)
	e.fails(old.Start(e.ctx, compute.StartOptions{}), errdefs.ErrNotFound)
	e.fails(old.Delete(e.ctx, compute.DeleteOptions{Force: true}), errdefs.ErrNotFound)
	e.inState(inst, compute.Stopped)
}

func handleGone(e *env, o operation) {
	inst := e.stopped("web")
	require.NoError(e, inst.Delete(e.ctx, compute.DeleteOptions{}))
	err := e.returns(o.name, func() error { return o.do(e.ctx, e, inst) })
	re := e.fails(err, errdefs.ErrNotFound)
	require.Equal(e, inst.ID(), re.Ref.ID)
	if o.word != "" {
		require.Equal(e, o.word, re.Op)
	}
}

func handleOfNothing(e *env) {
	inst := e.instances().Handle(absentID)
	require.NotNil(e, inst)
	require.Equal(e, absentID, inst.ID())
	_, err := inst.Info(e.ctx)
	e.fails(err, errdefs.ErrNotFound)
	malformed := e.instances().Handle("../../etc")
	_, err = malformed.Info(e.ctx)
	require.Error(e, err)
	e.wellFormed(err)
}

func nameFree(e *env) {
	for range 3 {
		inst := e.running("web")
		e.delete(inst)
	}
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func namespacesApart(e *env) {
	here := e.running("web")
	other := e.otherNamespace()
	require.Empty(e, e.names(other.Instances(), compute.Filter{}))
	for _, idOrName := range []string{"web", here.ID()} {
		_, err := other.Instances().Get(e.ctx, idOrName)
		e.fails(err, errdefs.ErrNotFound)
	}
	foreign := other.Instances().Handle(here.ID())
	_, err := foreign.Info(e.ctx)
	e.fails(err, errdefs.ErrNotFound)
	e.fails(foreign.Delete(e.ctx, compute.DeleteOptions{Force: true}), errdefs.ErrNotFound)
	there, err := other.Instances().Create(e.ctx, e.spec("web", "sleep", "1h"))
	require.NoError(e, err, "the same name in another namespace")
	require.NoError(e, there.Delete(e.ctx, compute.DeleteOptions{}))
	e.inState(here, compute.Running)
}

func otherValueFinds(e *env) {
	inst := e.running("web")
	other := e.open(OpenOptions{Owner: "somebody-else"})
	got, err := other.Instances().Get(e.ctx, "web")
	require.NoError(e, err)
	require.Equal(e, inst.ID(), got.ID())
	here, there := e.info(inst), e.info(got)
	require.Equal(e, here.Ref, there.Ref)
	require.Equal(e, here.Spec, there.Spec)
	require.Equal(e, here.State, there.State)
	require.Equal(e, here.Run, there.Run)
	require.Equal(e, here.Owner, there.Owner, "the owner is who made it, not who looks")
	require.Equal(e, here.Revision, there.Revision)
	require.Equal(e, here.Image, there.Image)
	require.True(e, here.Created.Equal(there.Created))
	require.Equal(e, []string{"web"}, e.names(other.Instances(), compute.Filter{}))
}

func otherValueActs(e *env) {
	inst := e.stopped("web")
	other := e.open(OpenOptions{}).Instances().Handle(inst.ID())
	require.NoError(e, other.Start(e.ctx, compute.StartOptions{}))
	e.inState(inst, compute.Running)
	require.NoError(e, other.Update(e.ctx, compute.Change{Labels: labelsOf("tier", "web")}))
	require.Equal(e, resource.Labels{"tier": "web"}, e.info(inst).Labels)
	require.NoError(e, other.Stop(e.ctx, compute.StopOptions{Force: true}))
	e.inState(inst, compute.Stopped)
	require.NoError(e, other.Delete(e.ctx, compute.DeleteOptions{}))
	_, err := inst.Info(e.ctx)
	e.fails(err, errdefs.ErrNotFound)
}

func outlivesClose(e *env) {
	maker := e.open(OpenOptions{})
	inst, err := maker.Instances().Create(e.ctx, e.spec("web", "sleep", "1h"))
	require.NoError(e, err)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	run := e.info(inst).Run
	require.NoError(e, maker.Close())
	info := e.info(e.instances().Handle(inst.ID()))
	require.Equal(e, compute.Running, info.State)
	require.Equal(e, run, info.Run)
	e.kill(e.instances().Handle(inst.ID()))
}

func generations(e *env) {
	describe := func(p univirt.Provider) resource.Owner {
		desc, err := p.Describe(e.ctx)
		require.NoError(e, err)
		return desc.Owner
	}
	a, b := describe(e.p), describe(e.open(OpenOptions{Owner: "somebody-else"}))
	require.Equal(e, owner, a.Name)
	require.Equal(e, "somebody-else", b.Name)
	require.NotEmpty(e, a.Generation)
	require.NotEqual(e, a.Generation, b.Generation)
	require.Equal(e, a, e.info(e.stopped("web")).Owner)
}

// changesInstance are the operations that change an instance though the table of
// transitions does not have them.
var changesInstance = map[string]bool{
	"copy in": true, "create snapshot": true, "attach volume": true, "attach network": true,
}

func foreignLeftAlone(e *env) {
	remove, err := e.s.h.Foreign(e.ctx, e.lane.namespace)
	require.NoError(e, err, "make a foreign instance")
	defer func() { require.NoError(e, remove(e.ctx), "remove the foreign instance") }()
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
	infos, err := resource.Collect(e.instances().List(e.ctx, compute.Filter{Unmanaged: true}))
	require.NoError(e, err)
	require.Len(e, infos, 1)
	info := infos[0]
	require.False(e, info.Managed)
	require.Nil(e, info.Spec)
	if info.Ref.ID == "" {
		return
	}
	inst := e.instances().Handle(info.Ref.ID)
	for _, o := range operations() {
		if o.op == compute.OpDeleteForce || o.op == "" && !changesInstance[o.name] || slices.ContainsFunc(o.needs, func(n need) bool { return e.missing(n) != "" }) {
			continue
		}
		err := e.returns(o.name, func() error { return o.do(e.ctx, e, inst) })
		require.ErrorIs(e, err, errdefs.ErrFailedPrecondition, "%s of a foreign instance", o.name)
		e.wellFormed(err)
	}
	require.Equal(e, info.State, e.info(inst).State)
	infos, err = resource.Collect(e.instances().List(e.ctx, compute.Filter{Unmanaged: true}))
	require.NoError(e, err)
	require.Len(e, infos, 1, "the foreign instance is still there")
}
