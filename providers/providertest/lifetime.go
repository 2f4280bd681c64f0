package providertest

import (
	"time"

	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func lifetimeCases() []testCase {
	ephemeral := fields("lifetime.ephemeral")
	until := fields("lifetime.until")
	return []testCase{
		{"What is ephemeral is deleted when its maker is closed, and what is persistent stays", ephemeral, ephemeralGoes},
		{"What is ephemeral and running is deleted when its maker is closed", ephemeral, ephemeralRunningGoes},
		{"What another value made ephemeral stays when this one is closed", ephemeral, ephemeralOfOthers},
		{"Sweep of nothing removes nothing", canSweep(), sweepNothing},
		{"Sweep removes what is past its lifetime, and nothing else", all(until, canSweep()), sweepExpired},
		{"A dry run reports what Sweep would remove, and removes nothing", all(until, canSweep()), sweepDryRun},
		{"Sweep leaves alone what is ephemeral and whose maker lives", all(ephemeral, canSweep()), sweepLiving},
		{"Sweep removes what is ephemeral and whose maker died", all(ephemeral, canSweep(), hook("Crash")), sweepDead},
		{"What is persistent survives its maker's death and a Sweep", all(canSweep(), hook("Crash")), persistentSurvives},
		{"Sweep of all removes what an owner made, running or not, and nothing of other owners", canSweep(), sweepAllOfOwner},
		{"Sweep of all leaves alone what the library did not make", all(canSweep(), hook("Foreign")), sweepForeign},
		{"Two Sweeps at once do no harm", all(until, canSweep()), sweepRace},
	}
}

// createBy makes an instance of a lifetime by a provider value.
func (e *env) createBy(p univirt.Provider, name string, lifetime resource.Lifetime) compute.Instance {
	e.Helper()
	spec := e.spec(name, "sleep", "1h")
	spec.Lifetime = lifetime
	inst, err := p.Instances().Create(e.ctx, spec)
	require.NoError(e, err)
	return inst
}

// sweep removes what the options say, requires that nothing fails, and lists the
// instances that went by name.
func (e *env) sweep(opts univirt.SweepOptions) []string {
	e.Helper()
	return e.swept(resource.KindInstance, opts)
}

// swept sweeps, and lists what it removed of a kind by name.
func (e *env) swept(kind resource.Kind, opts univirt.SweepOptions) []string {
	e.Helper()
	report, err := univirt.Sweep(e.ctx, e.p, opts)
	require.NoError(e, err)
	require.Empty(e, report.Failed)
	names := []string{}
	for _, ref := range report.Removed {
		if ref.Kind == kind {
			e.wellFormedRef(ref, kind)
			names = append(names, ref.Name)
		}
	}
	return names
}

func ephemeralGoes(e *env) {
	maker := e.open(OpenOptions{})
	e.createBy(maker, "short", resource.Ephemeral)
	e.createBy(maker, "long", resource.Persistent)
	require.NoError(e, maker.Close())
	require.Equal(e, []string{"long"}, e.names(e.instances(), compute.Filter{}))
}

func ephemeralRunningGoes(e *env) {
	maker := e.open(OpenOptions{})
	inst := e.createBy(maker, "short", resource.Ephemeral)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	require.NoError(e, e.returns("Close", maker.Close))
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func ephemeralOfOthers(e *env) {
	e.createBy(e.p, "short", resource.Ephemeral)
	other := e.open(OpenOptions{})
	require.Equal(e, []string{"short"}, e.names(other.Instances(), compute.Filter{}))
	require.NoError(e, other.Close())
	require.Equal(e, []string{"short"}, e.names(e.instances(), compute.Filter{}))
}

func sweepNothing(e *env) {
	inst := e.running("web")
	require.Empty(e, e.sweep(univirt.SweepOptions{}))
	e.inState(inst, compute.Running)
}

// lifetimes makes an instance of each lifetime.
func (e *env) lifetimes() {
	e.Helper()
	e.createBy(e.p, "expired", resource.Until(time.Now().Add(-time.Hour)))
	e.createBy(e.p, "fresh", resource.Until(time.Now().Add(time.Hour)))
	e.createBy(e.p, "persistent", resource.Persistent)
}

func sweepExpired(e *env) {
	e.lifetimes()
	require.Equal(e, []string{"expired"}, e.sweep(univirt.SweepOptions{}))
	require.Equal(e, []string{"fresh", "persistent"}, sorted(e.names(e.instances(), compute.Filter{})))
}

func sweepDryRun(e *env) {
	e.lifetimes()
	require.Equal(e, []string{"expired"}, e.sweep(univirt.SweepOptions{DryRun: true}))
	require.Len(e, e.names(e.instances(), compute.Filter{}), 3)
	require.Empty(e, e.sweep(univirt.SweepOptions{Owner: "somebody-else"}))
	require.Len(e, e.names(e.instances(), compute.Filter{}), 3)
}

func sweepLiving(e *env) {
	other := e.open(OpenOptions{})
	e.createBy(other, "theirs", resource.Ephemeral)
	e.createBy(e.p, "ours", resource.Ephemeral)
	require.Empty(e, e.sweep(univirt.SweepOptions{}))
	require.Len(e, e.names(e.instances(), compute.Filter{}), 2)
}

// crash lets the process of a provider value die.
func (e *env) crash(p univirt.Provider) {
	e.Helper()
	e.forget(p)
	require.NoError(e, e.s.h.Crash(e.ctx, p), "crash")
}

func sweepDead(e *env) {
	maker := e.open(OpenOptions{})
	inst := e.createBy(maker, "short", resource.Ephemeral)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	e.crash(maker)
	require.Equal(e, []string{"short"}, e.names(e.instances(), compute.Filter{}), "a death by itself removes nothing")
	e.eventually("the maker is known to be dead", func() bool {
		return len(e.sweep(univirt.SweepOptions{DryRun: true})) == 1
	})
	require.Equal(e, []string{"short"}, e.sweep(univirt.SweepOptions{}))
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func persistentSurvives(e *env) {
	maker := e.open(OpenOptions{})
	inst := e.createBy(maker, "long", resource.Persistent)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	e.crash(maker)
	require.Empty(e, e.sweep(univirt.SweepOptions{}))
	found, err := e.instances().Get(e.ctx, "long")
	require.NoError(e, err)
	e.inState(found, compute.Running)
	e.kill(found)
}

func sweepAllOfOwner(e *env) {
	other := e.open(OpenOptions{Owner: "somebody-else"})
	inst := e.createBy(other, "theirs", resource.Persistent)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	e.createBy(other, "theirs-too", resource.Persistent)
	ours := e.running("ours")
	removed := e.sweep(univirt.SweepOptions{Owner: "somebody-else", All: true})
	require.Equal(e, []string{"theirs", "theirs-too"}, sorted(removed))
	require.Equal(e, []string{"ours"}, e.names(e.instances(), compute.Filter{}))
	e.inState(ours, compute.Running)
}

func sweepForeign(e *env) {
	remove, err := e.s.h.Foreign(e.ctx, e.lane.namespace)
	require.NoError(e, err, "make a foreign instance")
	e.stopped("ours")
	removed := e.sweep(univirt.SweepOptions{All: true})
	require.Equal(e, []string{"ours"}, removed)
	infos, err := resource.Collect(e.instances().List(e.ctx, compute.Filter{Unmanaged: true}))
	require.NoError(e, err)
	require.Len(e, infos, 1)
	require.NoError(e, remove(e.ctx), "remove the foreign instance")
}

func sweepRace(e *env) {
	e.lifetimes()
	other := e.open(OpenOptions{})
	values := []univirt.Provider{e.p, other}
	errs := e.together(crowd, func(i int) error {
		report, err := univirt.Sweep(e.ctx, values[i%2], univirt.SweepOptions{})
		if err == nil && len(report.Failed) > 0 {
			err = report.Failed[0].Err
		}
		return err
	})
	for _, err := range errs {
		require.NoError(e, err)
	}
	require.Equal(e, []string{"fresh", "persistent"}, sorted(e.names(e.instances(), compute.Filter{})))
}
