package fake_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
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

func TestFaultStrikesWhereTheSentenceSays(t *testing.T) {
	labelled := func(s *compute.Spec) { s.Labels = resource.Labels{"tier": "web"} }
	for name, c := range map[string]struct {
		fault fake.Fault
		// fails are the numbers, from 1, of the starts of web and of db that fail.
		web, db []int
	}{
		"every start":         {fake.On(fake.OpStart).With(errdefs.ErrUnavailable), []int{1, 2, 3}, []int{1, 2, 3}},
		"every operation":     {fake.On().With(errdefs.ErrUnavailable), []int{1, 2, 3}, []int{1, 2, 3}},
		"another operation":   {fake.On(fake.OpPause).With(errdefs.ErrUnavailable), nil, nil},
		"of a name":           {fake.On(fake.OpStart).Of("web").With(errdefs.ErrUnavailable), []int{1, 2, 3}, nil},
		"of a label":          {fake.On(fake.OpStart).Labelled("tier=web").With(errdefs.ErrUnavailable), []int{1, 2, 3}, nil},
		"of a kind":           {fake.On(fake.OpStart).InstanceKind(compute.VM).With(errdefs.ErrUnavailable), nil, []int{1, 2, 3}},
		"of a resource":       {fake.On(fake.OpStart, fake.OpPull).Kind(resource.KindImage).With(errdefs.ErrUnavailable), nil, nil},
		"of two labels":       {fake.On(fake.OpStart).Labelled("tier").Labelled("tier!=web").With(errdefs.ErrUnavailable), nil, nil},
		"of kinds in kinds":   {fake.On(fake.OpStart).Kind(resource.KindInstance).InstanceKind(compute.VM).With(errdefs.ErrUnavailable), nil, []int{1, 2, 3}},
		"the second":          {fake.On(fake.OpStart).Of("web").Nth(2).With(errdefs.ErrUnavailable), []int{2}, nil},
		"the first two":       {fake.On(fake.OpStart).Of("db").First(2).With(errdefs.ErrUnavailable), nil, []int{1, 2}},
		"from the second on":  {fake.On(fake.OpStart).Of("db").From(2).With(errdefs.ErrUnavailable), nil, []int{2, 3}},
		"from one to another": {fake.On(fake.OpStart).Of("db").From(2).First(5).From(1).With(errdefs.ErrUnavailable), nil, []int{2, 3}},
		"one of several":      {fake.On(fake.OpStart).Of("db").First(2).Nth(2).With(errdefs.ErrUnavailable), nil, []int{2}},
		"never by chance":     {fake.On(fake.OpStart).Chance(0).With(errdefs.ErrUnavailable), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := fake.Test(t, fake.Options{})
			web, db := create(t, p, "web", labelled), create(t, p, "db", vm)
			starts := func(inst compute.Instance) []int {
				var failed []int
				for n := range 3 {
					if err := inst.Start(t.Context(), compute.StartOptions{}); err != nil {
						require.ErrorIs(t, err, errdefs.ErrUnavailable)
						failed = append(failed, n+1)
					}
				}
				return failed
			}
			injected := p.Fail(c.fault)
			assert.Equal(t, c.web, starts(web))
			assert.Equal(t, c.db, starts(db))
			assert.Equal(t, len(c.web)+len(c.db), injected.Struck())
			injected.Remove()
			injected.Remove()
			assert.Empty(t, starts(web))
		})
	}
}

func TestFaultBeforeTheEffectChangesNothing(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	inst := create(t, p, "web")
	p.Fail(fake.On(fake.OpStart).With(errdefs.ErrUnavailable))
	err := inst.Start(t.Context(), compute.StartOptions{})
	var e *resource.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "start", e.Op)
	assert.Equal(t, "web", e.Ref.Name)
	assert.Equal(t, errdefs.ErrUnavailable, e.Kind)
	assert.Equal(t, resource.NotDone, e.Outcome)
	assert.Equal(t, compute.Stopped, state(t, inst))
	assert.Empty(t, info(t, inst).Run)

	p.Fail(fake.On(fake.OpCreate).With(errdefs.ErrResourceExhausted))
	_, err = p.Instances().Create(t.Context(), compute.Spec{Name: "db", Image: "app"})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	_, err = p.Instances().Get(t.Context(), "db")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
}

func TestFaultAfterTheEffectLeavesIt(t *testing.T) {
	for kind, outcome := range map[error]resource.Outcome{
		errdefs.ErrUnavailable: resource.OutcomeUnknown,
		errdefs.ErrInternal:    resource.Done,
	} {
		p := fake.Test(t, fake.Options{})
		inst := create(t, p, "web")
		p.Fail(fake.On(fake.OpStart).After().With(kind))
		err := inst.Start(t.Context(), compute.StartOptions{})
		require.ErrorIs(t, err, kind)
		var e *resource.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, outcome, e.Outcome)
		assert.Equal(t, compute.Running, state(t, inst))
	}
}

func TestFaultErrorsKeepTheirDetails(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	cause := errors.New("the cable is cut")
	p.Fail(fake.On(fake.OpCreate).With(&resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "image", Err: cause}))
	_, err := p.Instances().Create(t.Context(), compute.Spec{Name: "web", Image: "app"})
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	assert.EqualError(t, err, `create instance "web": image: the cable is cut`)

	p = fake.Test(t, fake.Options{})
	p.Fail(fake.On(fake.OpPull).Of("nginx:1.27").DiskFull())
	_, err = p.Images().Pull(t.Context(), "nginx:1.27", compute.PullOptions{})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	assert.ErrorContains(t, err, "no space left on device")
	_, err = p.Images().Pull(t.Context(), "nginx:1.28", compute.PullOptions{})
	require.NoError(t, err)
}

func TestFaultOfAllValuesAndOfOne(t *testing.T) {
	b := fake.NewBackend(fake.Options{})
	defer b.Close()
	one := fake.Test(t, fake.Options{Backend: b})
	other := fake.Test(t, fake.Options{Backend: b})
	list := func(p *fake.Provider) error {
		_, err := resource.Collect(p.Instances().List(t.Context(), compute.Filter{}))
		return err
	}
	one.Fail(fake.On(fake.OpList).With(errdefs.ErrUnavailable))
	assert.Error(t, list(one))
	assert.NoError(t, list(other))
	b.Fail(fake.On(fake.OpList).With(errdefs.ErrUnavailable))
	assert.Error(t, list(other))
}

func TestDelayAndHangEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{})
		inst := create(t, p, "web")
		p.Fail(fake.On(fake.OpInfo).Nth(1).Delayed(time.Hour))
		begin := time.Now()
		_, err := inst.Info(t.Context())
		require.NoError(t, err)
		assert.Equal(t, time.Hour, time.Since(begin))

		p.Fail(fake.On(fake.OpStart).Hanging())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin = time.Now()
		require.ErrorIs(t, inst.Start(ctx, compute.StartOptions{}), context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(begin))
		assert.Equal(t, compute.Stopped, state(t, inst))

		// It goes on where what makes it hang is removed.
		pause := p.Fail(fake.On(fake.OpInfo).Hanging())
		read := make(chan error)
		go func() {
			_, err := inst.Info(t.Context())
			read <- err
		}()
		<-pause.FirstStrike()
		pause.Remove()
		pause.Remove()
		require.NoError(t, <-read)

		// A hanging call ends with the value too.
		done := make(chan error)
		go func() { done <- inst.Start(t.Context(), compute.StartOptions{}) }()
		synctest.Wait()
		require.NoError(t, p.Close())
		require.ErrorIs(t, <-done, resource.ErrClosed)
	})
}

func TestCrashInTheMiddleOfCreateLeavesWhatSweepFinds(t *testing.T) {
	b := fake.NewBackend(fake.Options{})
	defer b.Close()
	victim := fake.Test(t, fake.Options{Backend: b, Owner: "victim"})
	victim.Fail(fake.On(fake.OpCreate).Of("web").Crashing())
	_, err := victim.Instances().Create(t.Context(), compute.Spec{Name: "web", Image: "app"})
	require.ErrorIs(t, err, resource.ErrClosed)
	_, err = victim.Instances().Get(t.Context(), "web")
	require.ErrorIs(t, err, resource.ErrClosed)

	p := fake.Test(t, fake.Options{Backend: b})
	d, err := p.Describe(t.Context())
	require.NoError(t, err)
	require.Len(t, d.Leftovers, 1)
	assert.Equal(t, "web", d.Leftovers[0].Name)
	inst, err := p.Instances().Get(t.Context(), "web")
	require.NoError(t, err)
	assert.Equal(t, compute.Creating, state(t, inst))

	dry, err := univirt.Sweep(t.Context(), p, univirt.SweepOptions{DryRun: true})
	require.NoError(t, err)
	assert.Equal(t, d.Leftovers, dry.Removed)
	report, err := univirt.Sweep(t.Context(), p, univirt.SweepOptions{})
	require.NoError(t, err)
	assert.Equal(t, d.Leftovers, report.Removed)
	_, err = inst.Info(t.Context())
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	create(t, p, "web")
}

func TestNeverReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, fake.Options{Latency: fake.Latency{fake.OpBoot: fake.Exactly(30 * time.Second)}})
		p.Fail(fake.NeverReady("stuck"))
		slow, stuck := start(t, p, "slow", vm), start(t, p, "stuck", vm)
		_, err := compute.Output(t.Context(), slow, "echo")
		require.ErrorIs(t, err, errdefs.ErrUnavailable, "not yet is not never")
		begin := time.Now()
		_, err = compute.WaitFor(t.Context(), slow, compute.LevelAgent)
		require.NoError(t, err)
		assert.Equal(t, 30*time.Second, time.Since(begin))
		_, err = compute.Output(t.Context(), slow, "echo")
		require.NoError(t, err)

		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = compute.WaitFor(ctx, stuck, compute.LevelAgent)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, compute.LevelRunning, info(t, stuck).Level)
		// A reset boots again, and the fault is still there.
		require.NoError(t, compute.Reset(t.Context(), slow))
		assert.Equal(t, compute.LevelRunning, info(t, slow).Level)
		_, err = compute.WaitFor(t.Context(), slow, compute.LevelAgent)
		require.NoError(t, err)
	})
}

func TestEventsAreDroppedAndDuplicated(t *testing.T) {
	b := fake.NewBackend(fake.Options{})
	defer b.Close()
	p := fake.Test(t, fake.Options{Backend: b})
	other := fake.Test(t, fake.Options{Backend: b})
	p.Fail(fake.OnEvent(resource.ReasonStart).Of("web").Dropped())
	p.Fail(fake.OnEvent("deleted").Duplicated())
	reasons := func(p *fake.Provider, after resource.Cursor) []string {
		var out []string
		for _, e := range watching(t, p, resource.WatchOptions{After: after, Kinds: []resource.Kind{resource.KindInstance}},
			func(e resource.Event) bool { return e.Ref.Name == "last" }) {
			out = append(out, e.Ref.Name+" "+string(e.Type)+" "+e.Reason)
		}
		return out
	}
	begin := watching(t, p, resource.WatchOptions{}, synced)[0].Cursor
	inst := start(t, p, "web")
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
	create(t, p, "last")
	assert.Equal(t, []string{"web added create", "web changed exit", "web deleted ", "web deleted ", "last added create"}, reasons(p, begin))
	assert.Equal(t, []string{"web added create", "web changed start", "web changed exit", "web deleted ", "last added create"}, reasons(other, begin))
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	start := fake.On(fake.OpStart)
	for name, c := range map[string]struct {
		fault fake.Fault
		field string
		// says is a part of the reason.
		says string
	}{
		"zero value":      {fake.Fault{}, "fault", "was not made by a site"},
		"unknown op":      {fake.On("instance/explode").Hanging(), "op", `is no operation: "instance/explode"`},
		"unknown kind":    {start.Kind("instances").Hanging(), "kind", `did you mean "instance"?`},
		"no call's kind":  {fake.On(fake.OpRevertSnapshot).Kind(resource.KindSnapshot).Hanging(), "kind", "with calls of its own"},
		"unknown guest":   {start.InstanceKind("VM").Hanging(), "kind", `did you mean "vm"?`},
		"unknown event":   {fake.OnEvent("started").Dropped(), "event", `did you mean "start"`},
		"type of events":  {fake.OnEvent("added").Dropped(), "event", "is no reason of an event"},
		"no name":         {start.Of().Hanging(), "of", "needs a name"},
		"empty name":      {start.Of("").Hanging(), "of", `no call of start is about a resource with the name or ID ""`},
		"one empty name":  {start.Of("web", "").Hanging(), "of", `the name or ID ""`},
		"never ready":     {fake.NeverReady(""), "of", `no call of boot is about a resource with the name or ID ""`},
		"no image's name": {fake.On(fake.OpPull).Of("Nginx").Hanging(), "of", `"Nginx"`},
		"image's name":    {fake.On(fake.OpPause, fake.OpStart).Of("nginx:1.27").Hanging(), "of", `no call of pause or start is about a resource with the name or ID "nginx:1.27"`},
		"name of a list":  {fake.On(fake.OpList, fake.OpSweep).Of("web").Hanging(), "of", "no call of list or provider/sweep is about a resource with a name"},
		"name of a kind": {
			fake.On().Kind(resource.KindVolume).Of("nginx:1.27").Hanging(), "of", `no call is about a resource with the name or ID "nginx:1.27"`,
		},
		"event's name":           {fake.OnEvent(resource.ReasonExit).Of("nginx:1.27").Dropped(), "of", `no event of exit is about`},
		"event without a name":   {fake.OnEvent().Of("").Dropped(), "of", `""`},
		"another kind":           {start.Kind(resource.KindVolume).Hanging(), "kind", `no call of start is about a resource of kind "volume"`},
		"kind of a host's":       {fake.On(fake.OpDescribe).Kind(resource.KindInstance).Hanging(), "kind", `"instance"`},
		"no instance's guest":    {fake.On(fake.OpResizeVolume).InstanceKind(compute.VM).Hanging(), "kind", `of kind "vm"`},
		"guest of a list":        {fake.On(fake.OpList).Labelled("tier").Hanging(), "selector", "no call of list is about a resource with labels"},
		"guest of another kind":  {fake.On().Kind(resource.KindVolume).InstanceKind(compute.VM).Hanging(), "kind", `of kind "vm"`},
		"only of the other":      {fake.On(fake.OpConsole).InstanceKind(compute.Container).Hanging(), "kind", `of kind "container"`},
		"labels of an image":     {fake.On(fake.OpPull).Labelled("tier=web").Hanging(), "selector", "no call of image/pull"},
		"broken selector":        {start.Labelled("a=b=c").Hanging(), "selector", ""},
		"two values":             {start.Labelled("tier=web,tier=db").Hanging(), "selector", "no labels match tier=web,tier=db"},
		"there and not there":    {start.Labelled("tier").Labelled("!tier").Hanging(), "selector", "no labels match tier,!tier"},
		"none that is left":      {start.Labelled("tier in (web,db)").Labelled("tier notin (db,web,lb)").Hanging(), "selector", "no labels match"},
		"event of two values":    {fake.OnEvent().Labelled("tier=web,tier=db").Dropped(), "selector", "no labels match"},
		"reserved label":         {start.Labelled("univirt.io/owner=me").Hanging(), "selector", "no labels match"},
		"number 0":               {start.Nth(0).Hanging(), "nth", "counts from 1, is 0"},
		"first 0":                {start.First(0).Hanging(), "first", "counts from 1, is 0"},
		"from 0":                 {start.From(0).Hanging(), "from", "counts from 1, is 0"},
		"number below 0":         {start.First(-1).Hanging(), "first", "counts from 1, is -1"},
		"beyond the first":       {start.First(2).Nth(5).Hanging(), "nth", "leaves nothing of what was said before: from number 5 to number 2"},
		"before what begins":     {start.From(3).First(2).Hanging(), "first", "from number 3 to number 2"},
		"two numbers":            {start.Nth(1).Nth(2).Hanging(), "nth", "from number 2 to number 1"},
		"event beyond the first": {fake.OnEvent().First(2).From(5).Dropped(), "from", "from number 5 to number 2"},
		"chance above 1":         {start.Chance(2).Hanging(), "chance", "from 0 to 1"},
		"no error":               {start.With(nil), "with", "needs an error"},
		"no delay":               {start.Delayed(0), "delayed", "more than 0"},
		"error of a boot":        {fake.On(fake.OpBoot).With(errdefs.ErrUnavailable), "op", "a boot can hang or be delayed"},
		"crash of a boot":        {fake.On(fake.OpBoot).Crashing(), "op", "a boot can hang or be delayed"},
		"after a boot":           {fake.On(fake.OpBoot).After().Hanging(), "op", "a boot can hang or be delayed"},
		"unsupervised health":    {fake.OnEvent(resource.ReasonHealth).Dropped(), "event", "no supervisor runs"},
	} {
		t.Run(name, func(t *testing.T) {
			p := fake.New(fake.Options{})
			defer p.Close()
			injected := p.Fail(c.fault)
			require.ErrorIs(t, injected.Err(), errdefs.ErrInvalidArgument)
			faults := resource.FaultsOf(injected.Err())
			require.Len(t, faults, 1)
			assert.Equal(t, c.field, faults[0].Field)
			assert.Contains(t, faults[0].Reason, c.says)
			inst := create(t, p, "web")
			require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
			assert.Zero(t, injected.Struck())
			injected.Remove()

			for _, inject := range []func(*fake.Provider) *fake.Injection{
				func(p *fake.Provider) *fake.Injection { return p.Fail(c.fault) },
				func(p *fake.Provider) *fake.Injection { return p.Backend().Fail(c.fault) },
			} {
				r := &recorder{}
				inject(fake.Test(r, fake.Options{}))
				assert.Len(t, r.errors, 1, "the test fails")
				r.end()
			}
		})
	}
}

// TestFaultsThatCanStrikeAreThoseThatDo narrows every operation in every way: what is
// refused is what would not have struck.
func TestFaultsThatCanStrikeAreThoseThatDo(t *testing.T) {
	kind := func(kind resource.Kind) func(fake.Site) fake.Site {
		return func(s fake.Site) fake.Site { return s.Kind(kind) }
	}
	ways := map[string]struct {
		narrow func(fake.Site) fake.Site
		// besides is an operation that can be narrowed so, and is not called.
		besides fake.Op
	}{
		"kind instance": {kind(resource.KindInstance), fake.OpDetachVolume},
		"kind image":    {kind(resource.KindImage), fake.OpDeleteImage},
		"kind volume":   {kind(resource.KindVolume), fake.OpImportVolume},
		"kind network":  {kind(resource.KindNetwork), fake.OpUpdateNetwork},
		"kind endpoint": {kind(resource.KindEndpoint), fake.OpEndpointInfo},
		"guest":         {func(s fake.Site) fake.Site { return s.InstanceKind(compute.VM) }, fake.OpScreenshot},
		"labels":        {func(s fake.Site) fake.Site { return s.Labelled("tier=web") }, fake.OpScreenshot},
		"names": {func(s fake.Site) fake.Site {
			return s.Of("web", "other", "data", "lan", "printer", "app", "nginx", "theirs", "copy")
		}, fake.OpScreenshot},
	}
	calls := maps.Clone(steps)
	calls["of an instance that is managed"] = step{fake.OpAdopt, func(ctx context.Context, w *world) error {
		return only(w.Adopt(ctx, info(t, w.inst).Ref, univirt.AdoptOptions{}))
	}}
	struck, refused := map[string]bool{}, map[string]bool{}
	for method, s := range calls {
		w := worldOf(t, fake.New)
		alone, both := map[string]*fake.Injection{}, map[string]*fake.Injection{}
		for way, c := range ways {
			alone[way] = w.Backend().Fail(c.narrow(fake.On(s.op)).Delayed(time.Nanosecond))
			if besides := c.besides; besides != s.op {
				both[way] = w.Backend().Fail(c.narrow(fake.On(s.op, besides)).Delayed(time.Nanosecond))
				require.NoError(t, both[way].Err(), "%s and %s by %s", s.op, besides, way)
			}
		}
		require.NoError(t, s.call(t.Context(), w), method)
		require.NoError(t, w.Close())
		for way := range ways {
			key := string(s.op) + " by " + way
			refused[key] = alone[way].Err() != nil
			struck[key] = struck[key] || alone[way].Struck() > 0 || both[way] != nil && both[way].Struck() > 0
		}
	}
	for key := range refused {
		assert.Equal(t, !struck[key], refused[key], key)
	}
}

func TestFaultReadsAsItWasWritten(t *testing.T) {
	for want, fault := range map[string]fake.Fault{
		"call start of web number 2: unavailable": fake.On(fake.OpStart).Of("web").Nth(2).With(errdefs.ErrUnavailable),
		"call: hanging": fake.On().Hanging(),
		"call create, delete labelled tier=web with chance 0.5: crashing":    fake.On(fake.OpCreate, fake.OpDelete).Labelled("tier=web").Chance(0.5).Crashing(),
		"call stop of kind vm from number 3 after its effect: delayed by 1s": fake.On(fake.OpStop).InstanceKind(compute.VM).From(3).After().Delayed(time.Second),
		"call volume/create, execution/wait: hanging":                        fake.On(fake.OpCreateVolume, fake.OpWaitExecution).Hanging(),
		"event start number 1 to 2: dropped":                                 fake.OnEvent(resource.ReasonStart).First(2).Dropped(),
	} {
		assert.Equal(t, want, fault.String())
	}
}

func TestChanceIsTheSameWithTheSameSeed(t *testing.T) {
	run := func(seed uint64) (struck []int) {
		p := fake.Test(t, fake.Options{Seed: seed})
		inst := create(t, p, "web")
		p.Fail(fake.On(fake.OpInfo).Chance(0.3).With(errdefs.ErrUnavailable))
		for n := range 100 {
			if _, err := inst.Info(t.Context()); err != nil {
				struck = append(struck, n)
			}
		}
		return struck
	}
	first := run(1)
	assert.Equal(t, first, run(1))
	assert.NotEqual(t, first, run(2))
	assert.InDelta(t, 30, len(first), 20)
}

func TestChanceDoesNotDependOnTheOrderOfOthersCalls(t *testing.T) {
	const count = 50
	run := func(order func(calls []string)) map[string][]int {
		p := fake.Test(t, fake.Options{Seed: 1})
		insts := map[string]compute.Instance{}
		var calls []string
		for _, name := range []string{"a", "b", "c"} {
			insts[name] = create(t, p, name)
			for range count {
				calls = append(calls, name)
			}
		}
		order(calls)
		p.Fail(fake.On(fake.OpInfo).Chance(0.5).With(errdefs.ErrUnavailable))
		asked, struck := map[string]int{}, map[string][]int{}
		for _, name := range calls {
			asked[name]++
			if _, err := insts[name].Info(t.Context()); err != nil {
				struck[name] = append(struck[name], asked[name])
			}
		}
		return struck
	}
	inTurn := run(func([]string) {})
	assert.Equal(t, inTurn, run(slices.Reverse[[]string]))
	assert.Equal(t, inTurn, run(func(calls []string) {
		rand.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
	}))
	assert.NotEqual(t, inTurn["a"], inTurn["b"])
	for name, struck := range inTurn {
		assert.InDelta(t, count/2, len(struck), count/3, name)
	}
}

func TestUnusedFaultsAreReported(t *testing.T) {
	r := &recorder{}
	p := fake.Test(r, fake.Options{RequireFaults: true})
	p.Fail(fake.On(fake.OpStart).Of("web").With(errdefs.ErrUnavailable))
	p.Fail(fake.On(fake.OpCreate).Delayed(time.Nanosecond))
	create(t, p, "web")
	r.end()
	assert.Equal(t, []string{"fake: this fault never struck: call start of web: unavailable"}, r.errors)
}
