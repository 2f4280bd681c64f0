package fake_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

func TestIdleInstanceEndsByItsStopSignal(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*compute.Spec)
		opts compute.StopOptions
		want compute.Exit
	}{
		"asked":        {func(*compute.Spec) {}, compute.StopOptions{}, compute.Exit{Code: 143, Signal: "SIGTERM", Reason: "stopped"}},
		"forced":       {func(*compute.Spec) {}, compute.StopOptions{Force: true}, compute.Exit{Code: 137, Signal: "SIGKILL", Reason: "forced"}},
		"own signal":   {func(s *compute.Spec) { s.StopSignal = "SIGINT" }, compute.StopOptions{}, compute.Exit{Code: 130, Signal: "SIGINT", Reason: "stopped"}},
		"given signal": {func(s *compute.Spec) { s.StopSignal = "SIGINT" }, compute.StopOptions{Signal: "SIGQUIT"}, compute.Exit{Code: 131, Signal: "SIGQUIT", Reason: "stopped"}},
		"harmless":     {func(s *compute.Spec) { s.StopSignal = "SIGWINCH" }, compute.StopOptions{}, compute.Exit{Reason: "stopped"}},
		"vm":           {vm, compute.StopOptions{}, compute.Exit{Code: 143, Signal: "SIGTERM", Reason: "stopped"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := fake.Test(t, fake.Options{})
			inst := start(t, p, "web", c.set)
			require.NoError(t, inst.Stop(t.Context(), c.opts))
			got := exit(t, inst)
			assert.Equal(t, info(t, inst).Run, got.Run)
			got.Run, got.Started, got.Finished = "", time.Time{}, time.Time{}
			c.want.Known = true
			assert.Equal(t, c.want, got)
		})
	}
}

func TestStopWithLessGracePreempts(t *testing.T) {
	for name, second := range map[string]func(context.Context, compute.Instance) error{
		"force": func(ctx context.Context, i compute.Instance) error {
			return i.Stop(ctx, compute.StopOptions{Force: true})
		},
		"less grace": func(ctx context.Context, i compute.Instance) error {
			return i.Stop(ctx, compute.StopOptions{Grace: time.Second})
		},
		"delete": func(ctx context.Context, i compute.Instance) error {
			return i.Delete(ctx, compute.DeleteOptions{Force: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := fake.Test(t, program(untilDone))
				inst := start(t, p, "web")
				synctest.Wait()
				begin := time.Now()
				first := make(chan error)
				go func() { first <- inst.Stop(t.Context(), compute.StopOptions{Grace: time.Hour}) }()
				synctest.Wait()
				assert.Equal(t, compute.Stopping, state(t, inst))
				// More grace than the first has waits, and hastens nothing.
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				require.ErrorIs(t, inst.Stop(ctx, compute.StopOptions{Grace: 2 * time.Hour}), context.DeadlineExceeded)
				require.NoError(t, second(t.Context(), inst))
				require.NoError(t, <-first)
				assert.LessOrEqual(t, time.Since(begin), time.Minute+time.Second)
			})
		})
	}
}

func TestStopThatIsCancelledLeavesTheInstanceRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, program(untilDone))
		inst := start(t, p, "web")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, inst.Stop(ctx, compute.StopOptions{Grace: time.Hour}), context.DeadlineExceeded)
		assert.Equal(t, compute.Running, state(t, inst))
		begin := time.Now()
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		assert.Equal(t, compute.DefaultGrace, time.Since(begin))
	})
}

func TestChangesOfOneInstanceQueueAndOthersDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{Latency: fake.Latency{fake.OpStart: fake.Exactly(time.Minute)}})
		web, db := create(t, p, "web"), create(t, p, "db")
		begin := time.Now()
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { assert.NoError(t, web.Start(t.Context(), compute.StartOptions{})) })
		}
		all.Go(func() { assert.NoError(t, db.Start(t.Context(), compute.StartOptions{})) })
		synctest.Wait()
		_, err := web.Info(t.Context())
		require.NoError(t, err)
		assert.Zero(t, time.Since(begin), "reading does not queue")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, web.Update(ctx, compute.Change{}), context.DeadlineExceeded, "a queued call ends with its context")
		all.Wait()
		assert.Equal(t, 3*time.Minute, time.Since(begin))
	})
}

func TestWaitOfARunThatIsNotKnown(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	inst := start(t, p, "web")
	e, err := inst.Wait(t.Context(), compute.WaitOptions{Run: "elsewhere"})
	require.NoError(t, err)
	assert.Equal(t, compute.Exit{Run: "elsewhere"}, e)
	first := info(t, inst).Run
	for range 20 {
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
	}
	e, err = inst.Wait(t.Context(), compute.WaitOptions{Run: first})
	require.NoError(t, err)
	assert.Equal(t, compute.Exit{Run: first}, e, "the oldest runs are forgotten")
	i := info(t, inst)
	assert.Equal(t, 21, i.Runs)
	require.NotNil(t, i.Exit)
	assert.NotEqual(t, i.Run, i.Exit.Run, "the exit is the last one's")
}

func TestResetStartsTheGuestAgainWithinTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, program(func(ctx context.Context, p *fake.Process) int {
			fmt.Fprintln(p.Stdout, "booting")
			<-ctx.Done()
			return 0
		}))
		inst := start(t, p, "web", vm)
		token := info(t, inst).Run
		synctest.Wait()
		e, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{"sleep", "infinity"}}})
		require.NoError(t, err)
		require.NoError(t, compute.Reset(t.Context(), inst))
		x, err := e.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 137, x.Code)
		synctest.Wait()
		i := info(t, inst)
		assert.Equal(t, token, i.Run)
		assert.Equal(t, compute.LevelAgent, i.Level)
		lines, err := resource.Collect(compute.Logs(t.Context(), inst, compute.LogOptions{}))
		require.NoError(t, err)
		assert.Len(t, lines, 2)
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		idle := start(t, p, "idle", vm, func(s *compute.Spec) { s.Image = "idle" })
		require.NoError(t, compute.Reset(t.Context(), idle))
		assert.Equal(t, compute.Running, state(t, idle))
	})
}

func TestCapacity(t *testing.T) {
	p := fake.Test(t, fake.Options{Capacity: fake.Capacity{CPUs: 2, Memory: resource.GiB, Instances: 3}})
	sized := func(cpus float64, memory int64) func(*compute.Spec) {
		return func(s *compute.Spec) { s.Resources.CPUs, s.Resources.Memory = cpus, memory }
	}
	small, large := start(t, p, "small", sized(0.7, 256*resource.MiB)), create(t, p, "large", sized(1.3, resource.GiB))
	var e *resource.Error
	require.ErrorAs(t, large.Start(t.Context(), compute.StartOptions{}), &e)
	assert.Equal(t, errdefs.ErrResourceExhausted, e.Kind)
	assert.Equal(t, "resources.memory", e.Field)
	assert.Equal(t, compute.Stopped, state(t, large))
	memory := compute.Resources{CPUs: 1.4, Memory: 256 * resource.MiB}
	require.NoError(t, large.Update(t.Context(), compute.Change{Resources: &memory}))
	require.ErrorAs(t, large.Start(t.Context(), compute.StartOptions{}), &e)
	assert.Equal(t, "resources.cpus", e.Field)
	memory.CPUs = 1.3
	require.NoError(t, large.Update(t.Context(), compute.Change{Resources: &memory}))
	require.NoError(t, large.Start(t.Context(), compute.StartOptions{}))
	d, err := p.Describe(t.Context())
	require.NoError(t, err)
	assert.Equal(t, univirt.Capacity{CPUs: 2, Memory: resource.GiB, MemoryAvailable: 512 * resource.MiB, Disk: -1, DiskAvailable: -1, Instances: 3}, d.Capacity)
	memory.CPUs = 1.4
	require.ErrorIs(t, large.Update(t.Context(), compute.Change{Resources: &memory}), errdefs.ErrResourceExhausted)
	assert.Equal(t, 1.3, info(t, large).Spec.Resources.CPUs)

	require.NoError(t, compute.Suspend(t.Context(), small, compute.SuspendOptions{}))
	require.NoError(t, large.Update(t.Context(), compute.Change{Resources: &memory}))
	require.ErrorIs(t, small.Start(t.Context(), compute.StartOptions{}), errdefs.ErrResourceExhausted)
	assert.Equal(t, compute.Suspended, state(t, small))

	create(t, p, "third")
	_, err = p.Instances().Create(t.Context(), compute.Spec{Name: "fourth", Image: "app"})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	require.NoError(t, large.Delete(t.Context(), compute.DeleteOptions{Force: true}))
	create(t, p, "fourth")
	require.NoError(t, small.Start(t.Context(), compute.StartOptions{}))
}

func TestUpdateOfAVirtualMachineBeyondItsRoomWaits(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	inst := start(t, p, "web", vm, func(s *compute.Spec) { s.Resources = compute.Resources{CPUs: 1, Memory: resource.GiB} })
	more := compute.Resources{CPUs: 9, Memory: resource.GiB, CPUWeight: 50}
	var e *resource.Error
	require.ErrorAs(t, inst.Update(t.Context(), compute.Change{Resources: &more, Apply: compute.ApplyLive}), &e)
	assert.Equal(t, errdefs.ErrFailedPrecondition, e.Kind)
	assert.Equal(t, "resources.cpus", e.Field)
	require.NoError(t, inst.Update(t.Context(), compute.Change{Resources: &more}))
	i := info(t, inst)
	assert.Equal(t, []string{"resources.cpus"}, i.Pending)
	assert.Equal(t, more, i.Spec.Resources)
	fits := more
	fits.CPUs = 8
	require.NoError(t, inst.Update(t.Context(), compute.Change{Resources: &fits, Apply: compute.ApplyLive}))
	assert.Empty(t, info(t, inst).Pending)
	require.NoError(t, inst.Update(t.Context(), compute.Change{Resources: &more}))
	assert.Equal(t, []string{"resources.cpus"}, info(t, inst).Pending)
	require.NoError(t, compute.Restart(t.Context(), inst, compute.StopOptions{}))
	assert.Empty(t, info(t, inst).Pending)

	require.NoError(t, inst.Update(t.Context(), compute.Change{Resources: &compute.Resources{CPUs: 3}, Apply: compute.ApplyNextStart}))
	assert.Equal(t, []string{"resources.cpus", "resources.cpuWeight", "resources.memory"}, info(t, inst).Pending)
	require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
	require.ErrorIs(t, inst.Update(t.Context(), compute.Change{Resources: &more, Apply: compute.ApplyLive}), errdefs.ErrFailedPrecondition)
}

func TestUpdateBelowWhatIsInUse(t *testing.T) {
	ready := make(chan struct{})
	p := fake.Test(t, program(func(ctx context.Context, p *fake.Process) int {
		assert.NoError(t, p.Alloc(10*resource.MiB))
		close(ready)
		<-ctx.Done()
		return 0
	}))
	inst := start(t, p, "web")
	<-ready
	less := compute.Resources{Memory: 5 * resource.MiB}
	require.ErrorIs(t, inst.Update(t.Context(), compute.Change{Resources: &less}), errdefs.ErrFailedPrecondition)
	less.Memory = 20 * resource.MiB
	require.NoError(t, inst.Update(t.Context(), compute.Change{Resources: &less}))
}

func TestBreak(t *testing.T) {
	p := fake.Test(t, program(untilDone))
	inst := start(t, p, "web")
	require.NoError(t, p.Break("web", compute.Unknown, "the daemon does not answer"))
	i := info(t, inst)
	assert.Equal(t, compute.Unknown, i.State)
	assert.Equal(t, "the daemon does not answer", i.Reason)
	require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{Force: true}))
	assert.Equal(t, compute.Stopped, state(t, inst))

	require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
	require.NoError(t, p.Break("web", compute.Failed, "the disk is gone"))
	assert.Equal(t, "crashed", exit(t, inst).Reason)
	assert.Equal(t, compute.Failed, state(t, inst))
	require.ErrorIs(t, inst.Start(t.Context(), compute.StartOptions{}), errdefs.ErrFailedPrecondition)
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{}))

	require.ErrorIs(t, p.Break("web", compute.Failed, ""), errdefs.ErrNotFound)
	create(t, p, "web")
	require.ErrorIs(t, p.Break("web", compute.Running, ""), errdefs.ErrInvalidArgument)
}

func TestValuesOfOneBackend(t *testing.T) {
	b := fake.NewBackend(fake.Options{})
	defer b.Close()
	open := func(namespace, owner string) *fake.Provider {
		return fake.Test(t, fake.Options{Backend: b, Namespace: namespace, Owner: owner})
	}
	one, two, elsewhere := open("", "one"), open("", "two"), open("other", "")
	ephemeral := func(s *compute.Spec) { s.Lifetime = resource.Ephemeral }
	start(t, one, "stays")
	start(t, one, "goes", ephemeral)
	create(t, elsewhere, "stays")
	names := func(p *fake.Provider) string {
		infos, err := resource.Collect(p.Instances().List(t.Context(), compute.Filter{}))
		require.NoError(t, err)
		var out []string
		for _, i := range infos {
			out = append(out, i.Ref.Name)
		}
		return strings.Join(out, " ")
	}
	assert.Equal(t, "stays goes", names(two), "what one makes the other sees")
	assert.Equal(t, "stays", names(elsewhere))
	require.NoError(t, one.Close())
	assert.Equal(t, "stays", names(two), "what is ephemeral goes with its value")

	crashing := open("", "one")
	start(t, crashing, "left", ephemeral)
	start(t, two, "mine", ephemeral)
	crashing.Crash()
	assert.Equal(t, "stays left mine", names(two), "a crash cleans nothing up")
	_, err := crashing.Instances().Get(t.Context(), "left")
	require.ErrorIs(t, err, resource.ErrClosed)
	report, err := univirt.Sweep(t.Context(), two, univirt.SweepOptions{})
	require.NoError(t, err)
	require.Len(t, report.Removed, 1)
	assert.Equal(t, "stays mine", names(two))
	report, err = univirt.Sweep(t.Context(), two, univirt.SweepOptions{Owner: "one", All: true})
	require.NoError(t, err)
	require.Len(t, report.Removed, 1)
	assert.Equal(t, "mine", names(two))
}

func TestLifetimeThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{})
		start(t, p, "short", func(s *compute.Spec) { s.Lifetime = resource.Until(time.Now().Add(time.Hour)) })
		report, err := univirt.Sweep(t.Context(), p, univirt.SweepOptions{})
		require.NoError(t, err)
		assert.Empty(t, report.Removed)
		time.Sleep(2 * time.Hour)
		report, err = univirt.Sweep(t.Context(), p, univirt.SweepOptions{})
		require.NoError(t, err)
		assert.Len(t, report.Removed, 1)
	})
}

func TestForeignInstancesAreLeftAlone(t *testing.T) {
	p := fake.Test(t, fake.Options{Owner: "me"})
	ref, err := p.Backend().PlantForeign("", compute.Spec{Name: "theirs", Image: "app"})
	require.NoError(t, err)
	_, err = p.Backend().PlantForeign("", compute.Spec{Name: "theirs", Image: "app"})
	require.ErrorIs(t, err, errdefs.ErrAlreadyExists)
	_, err = p.Backend().PlantForeign("UPPER", compute.Spec{Name: "Bad"})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	inst := p.Instances().Handle(ref.ID)
	i := info(t, inst)
	assert.False(t, i.Managed)
	assert.Nil(t, i.Spec)
	all, err := resource.Collect(p.Instances().List(t.Context(), compute.Filter{}))
	require.NoError(t, err)
	assert.Empty(t, all)
	all, err = resource.Collect(p.Instances().List(t.Context(), compute.Filter{Unmanaged: true}))
	require.NoError(t, err)
	assert.Len(t, all, 1)
	_, err = univirt.Sweep(t.Context(), p, univirt.SweepOptions{All: true})
	require.NoError(t, err)
	require.ErrorIs(t, inst.Delete(t.Context(), compute.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	require.ErrorIs(t, inst.Update(t.Context(), compute.Change{Labels: resource.LabelPatch{"a": nil}}), errdefs.ErrFailedPrecondition)
	events := watching(t, p, resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}}, synced)
	assert.Len(t, events, 1, "nothing but Synced")

	adopted, err := univirt.Adopt(t.Context(), p, ref, univirt.AdoptOptions{Name: "mine", Labels: resource.Labels{"a": "b"}})
	require.NoError(t, err)
	assert.Equal(t, "mine", adopted.Name)
	assert.Equal(t, ref.ID, adopted.ID)
	i = info(t, inst)
	assert.True(t, i.Managed)
	assert.Equal(t, "me", i.Owner.Name)
	assert.Equal(t, resource.Labels{"a": "b"}, i.Labels)
	assert.Equal(t, "mine", i.Spec.Name)
	_, err = univirt.Adopt(t.Context(), p, adopted, univirt.AdoptOptions{Name: "other"})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	_, err = univirt.Adopt(t.Context(), p, resource.Ref{Name: "nobody"}, univirt.AdoptOptions{})
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{}))
}

func TestImplicitBackendEndsWithItsLastValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.New(program(untilDone))
		q := fake.New(fake.Options{Backend: p.Backend()})
		start(t, p, "web")
		require.NoError(t, p.Close())
		inst, err := q.Instances().Get(t.Context(), "web")
		require.NoError(t, err)
		assert.Equal(t, compute.Running, state(t, inst))
		require.NoError(t, q.Close())
		require.NoError(t, q.Close())
		synctest.Wait() // and the bubble fails where a goroutine is left
		late := fake.New(fake.Options{Backend: p.Backend()})
		_, err = late.Instances().Get(t.Context(), "web")
		require.ErrorIs(t, err, resource.ErrClosed)
	})
}

func TestOpenByURL(t *testing.T) {
	p, err := univirt.Open(t.Context(), "fake:?namespace=ns&owner=me&seed=7")
	require.NoError(t, err)
	defer p.Close()
	d, err := p.Describe(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "ns", d.Namespace)
	assert.Equal(t, "me", d.Owner.Name)
	assert.Equal(t, "7", d.Backend.Details["seed"])
	for url, field := range map[string]string{
		"fake:?seed=x":        "url.query[seed]",
		"fake:?namespace=A":   "url.query[namespace]",
		"fake:?colour=red":    "url.query[colour]",
		"fake://host":         "url",
		"fake:/path":          "url",
		"fake:opaque":         "url",
		"fake+unix:":          "url",
		"fake:?seed=1&seed=2": "url.query[seed]",
	} {
		_, err := univirt.Open(t.Context(), url)
		var e *resource.Error
		require.ErrorAs(t, err, &e, url)
		assert.Equal(t, errdefs.ErrInvalidArgument, e.Kind, url)
		assert.Equal(t, field, e.Field, url)
	}
}

func TestFaultsOfOptionsAreInOrder(t *testing.T) {
	opts := fake.Options{
		Pools:    map[string]int64{"c": -1, "a": -1, "b": -1},
		Programs: map[string]fake.Program{"c": nil, "a": nil, "b": nil},
		Latency:  fake.Latency{"c": {}, "a": {}, "b": {}},
	}
	for range 10 {
		var got []string
		for _, fault := range opts.Validate() {
			got = append(got, fault.Field)
		}
		assert.Equal(t, []string{
			"pools[a]", "pools[b]", "pools[c]", "latency[a]", "latency[b]", "latency[c]", "programs[a]", "programs[b]", "programs[c]",
		}, got)
	}
}

func TestPlanTellsWhatIsRefusedAndWhatNothingActsOn(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	type gap struct {
		field string
		level resource.FieldLevel
	}
	for _, c := range []struct {
		spec compute.Spec
		want []gap
	}{
		{compute.Spec{Kind: compute.VM, NetworkMode: compute.NetworkHost}, []gap{{"networkMode", resource.FieldRefused}}},
		{compute.Spec{Native: compute.Natives{compute.RecordedNative{Provider: fake.Scheme, Version: "1"}}}, []gap{{"native", resource.FieldRefused}}},
		{compute.Spec{NetworkMode: compute.NetworkHost}, nil},
		{
			compute.Spec{
				Restart: compute.RestartPolicy{Mode: compute.RestartAlways}, Health: &compute.Probe{Exec: []string{"true"}},
				Resources: compute.Resources{DiskRead: 1}, Init: true, Readiness: &compute.Probe{Exec: []string{"true"}},
			},
			[]gap{
				{"init", resource.FieldHint}, {"resources.diskRead", resource.FieldHint},
				{"restart.mode", resource.FieldHint}, {"health.exec", resource.FieldHint},
			},
		},
	} {
		c.spec.Name, c.spec.Image = "web", "app"
		plan, err := compute.PlanOf(t.Context(), p.Instances(), c.spec)
		require.NoError(t, err)
		var gaps []gap
		refused := false
		for _, g := range plan.Gaps {
			gaps = append(gaps, gap{g.Field, g.Level})
			refused = refused || g.Level == resource.FieldRefused
			assert.NotEmpty(t, g.Reason)
		}
		assert.Equal(t, c.want, gaps)
		inst, err := p.Instances().Create(t.Context(), c.spec)
		if refused {
			failsAs(t, err, errors.ErrUnsupported, c.want[0].field)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{}))
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	b := fake.NewBackend(fake.Options{})
	defer b.Close()
	for field, opts := range map[string]fake.Options{
		"namespace":               {Namespace: "UPPER"},
		"seed":                    {Backend: b, Seed: 1},
		"images":                  {Backend: b, Images: []fake.Image{}},
		"capacity.cpus":           {Capacity: fake.Capacity{CPUs: -1}},
		"history":                 {History: -1},
		"latency[]":               {Latency: fake.Latency{"": {Min: 2, Max: 1}}},
		"latency[instance/strat]": {Latency: fake.Latency{"instance/strat": fake.Exactly(time.Second)}},
		"images[0].name":          {Images: []fake.Image{{Name: "::"}}},
		"images[0].size":          {Images: []fake.Image{{Name: "a", Size: -1}}},
		"images[0].disk":          {Images: []fake.Image{{Name: "a", Disk: []byte{1}, Files: emptyFS{}}}},
		"programs[a]":             {Programs: map[string]fake.Program{"a": nil}},
		"images[0].users[0]":      {Images: []fake.Image{{Name: "a", Users: []fake.User{{}}}}},
	} {
		t.Run(field, func(t *testing.T) {
			p := fake.New(opts)
			defer p.Close()
			_, err := p.Instances().Get(t.Context(), "web")
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			assert.Equal(t, field, resource.FaultsOf(err)[0].Field)
			r := &recorder{}
			fake.Test(r, opts)
			assert.Len(t, r.errors, 1)
			assert.Contains(t, r.errors[0], "fatal: ")
			r.end()
		})
	}
}

func TestOnlyAContainerHasAFractionOfACPU(t *testing.T) {
	half := func(kind compute.Kind) compute.Spec {
		return compute.Spec{Name: "web", Kind: kind, Image: "app", Resources: compute.Resources{CPUs: 0.5}}
	}
	for _, kind := range []compute.Kind{"", compute.Container} {
		_, err := fake.Test(t, fake.Options{}).Instances().Create(t.Context(), half(kind))
		require.NoError(t, err, "kind %q", kind)
	}

	p := fake.Test(t, fake.Options{})
	_, created := p.Instances().Create(t.Context(), half(compute.VM))
	_, planned := compute.PlanOf(t.Context(), p.Instances(), half(compute.VM))
	updated := create(t, p, "db", vm).Update(t.Context(), compute.Change{Resources: &compute.Resources{CPUs: 0.5}})
	for name, err := range map[string]error{"create": created, "plan": planned, "update": updated} {
		var e *resource.Error
		require.ErrorAs(t, err, &e, name)
		assert.Equal(t, name, e.Op)
		assert.Equal(t, errdefs.ErrInvalidArgument, e.Kind, name)
		assert.Equal(t, resource.Faults{{Field: "resources.cpus", Reason: "must be a whole number for a virtual machine, is 0.5"}}, resource.FaultsOf(err), name)
	}

	spec := half(compute.VM)
	spec.Resources.CPUs, spec.StopGrace = -0.5, -1
	_, err := p.Instances().Create(t.Context(), spec)
	assert.Equal(t, spec.Validate(), resource.FaultsOf(err), "one fault is told once")
	spec.Resources.CPUs = 0.5
	_, err = p.Instances().Create(t.Context(), spec)
	assert.Len(t, resource.FaultsOf(err), 2, "all faults are told at once")
}
