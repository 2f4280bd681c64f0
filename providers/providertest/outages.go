package providertest

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// outageCases let the backend die at each of the calls that an operation makes to
// it: before the call, and behind it, so that only the answer is lost.
func outageCases() []testCase {
	return lostIn(false, "A backend that dies in the middle of ", " is Unavailable and leaves a state of the table", " is Unavailable")
}

// hangCases let the backend hang at calls that an operation makes to it, and the context
// of the operation end meanwhile.
func hangCases() []testCase {
	return lostIn(true, "A backend that hangs in the middle of ", " lets it end with its context and leaves a state of the table",
		" lets it end with its context and leaves nothing behind")
}

// lostIn lets the backend be lost in the middle of each operation.
func lostIn(hangs bool, what, becomes, becomesOfCall string) []testCase {
	var cases []testCase
	for _, o := range operations() {
		if o.op == compute.OpRestart {
			// Without this feature it is Stop and Start, which have their own.
			o.needs = has(compute.FeatureRestart)
		}
		cases = append(cases, testCase{
			name:  what + o.name + becomes,
			needs: all(hook("Sever"), cutFrom(o).needs, o.needs),
			run:   func(e *env) { outage(e, hangs, o) },
		})
	}
	for _, o := range providerOperations() {
		cases = append(cases, testCase{
			name:  what + "the call to " + o.name + becomesOfCall,
			needs: all(hook("Sever"), o.needs),
			run:   func(e *env) { providerOutage(e, hangs, o) },
		})
	}
	return cases
}

const (
	// eachCall is the number of calls each of which is cut off. Of an operation that
	// makes more, such as one that reads a file in pieces, fewer and fewer are.
	eachCall = 16
	// backAfter is how long the backend is away from what outlasts it, and from what has
	// been given up.
	backAfter = 200 * time.Millisecond
	// mostCalls is more than any operation makes to its backend.
	mostCalls = 1000
)

// away reports whether a backend that hangs at a call does not come back before the
// operation has returned: at its first, and in its middle.
func away(n int) bool { return n == 0 || n == 4 }

// fixture is what a call is made with.
type fixture struct {
	prepare, clean func()
	// untouched reports whether it is as it was prepared.
	untouched func() bool
}

// severed makes calls with a backend that is lost in their middle, each time at a
// later point, until it is not lost before the call has returned. The call is
// told a provider value, on a namespace, that loses its backend; check sees what came
// of it. What is prepared, and cleaned up behind it, happens while all is well. What one
// call has left untouched the next is made with.
//
// Where the backend hangs, the context of the call ends. Where it dies, a call that
// outlasts it has something done that goes on without the backend, and may wait for it to
// come back.
func (e *env) severed(namespace string, hangs, outlasts bool, with fixture, call func(ctx context.Context, p univirt.Provider) error, check func(err error)) {
	e.Helper()
	p := e.open(OpenOptions{Namespace: namespace})
	held := func() []string {
		e.Helper()
		items, err := e.s.inventory(e.ctx, namespace)
		require.NoError(e, err)
		return items
	}
	before := held()
	var prepared []string // what the backend holds then
	ready := false
	clean := func(err error) {
		e.Helper()
		with.clean()
		e.nothingLeft(p, held, before, err)
		ready = false
	}
	var trail []string
	defer func() {
		if e.Failed() {
			e.Logf("what came of it each time:\n%s", strings.Join(trail, "\n"))
		}
	}()
	for n := 0; n < mostCalls; n += stride(n, hangs) {
		lost := false
		for _, taken := range ways(n, hangs) {
			if !ready {
				with.prepare()
				prepared, ready = held(), true
			}
			was, err := e.without(p, Outage{Call: n, Taken: taken, Hangs: hangs}, outlasts, call)
			if hangs && was {
				// What goes on when the caller has given up, Close waits for.
				require.NoError(e, p.Close())
				p = e.open(OpenOptions{Namespace: namespace})
			}
			trail = append(trail, fmt.Sprintf("lost at call %d: %t, which took effect: %t: %v", n, was, taken, err))
			check(err)
			if !with.untouched() || !slices.Equal(held(), prepared) {
				clean(err)
			}
			lost = lost || was
		}
		if !lost {
			clean(nil)
			return
		}
	}
	require.Fail(e, "there is no end of calls")
}

// without makes a call to a provider value with an outage, and reports whether it struck.
func (e *env) without(p univirt.Provider, o Outage, outlasts bool, call func(ctx context.Context, p univirt.Provider) error) (bool, error) {
	e.Helper()
	struck, mend, err := e.s.h.Sever(p, o)
	require.NoError(e, err, "sever the provider value")
	ctx, cancel := context.WithCancel(e.ctx)
	returned := make(chan struct{})
	var meanwhile sync.WaitGroup
	defer func() {
		close(returned)
		meanwhile.Wait() // so that it mends nothing of the next
		mend()
		cancel()
	}()
	meanwhile.Go(func() {
		select {
		case <-struck:
		case <-returned:
			return
		}
		if o.Hangs {
			cancel()
		}
		if outlasts || o.Hangs && !away(o.Call) {
			select {
			case <-time.After(backAfter):
				mend()
			case <-returned:
			}
		}
	})
	err = e.returns("a call without a backend", func() error { return call(ctx, p) })
	return isClosed(struck), err
}

// ways are whether the call that is lost takes effect: each way where the backend dies. As
// it takes time to hang, the ways take turns there.
func ways(n int, hangs bool) []bool {
	switch {
	case hangs:
		return []bool{bits.Len(uint(n))%2 == 0}
	case flagSet("test.short"):
		// The one that leaves more is the harder.
		return []bool{true}
	}
	return []bool{false, true}
}

// stride is how many calls further the next is lost.
func stride(n int, hangs bool) int {
	switch {
	case hangs:
		return max(1, n)
	case flagSet("test.short"):
		return max(2, n/eachCall)
	}
	return max(1, n/eachCall)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// nothingLeft requires the backend to hold what it held, or the error to say what
// else, and Sweep to remove that.
func (e *env) nothingLeft(p univirt.Provider, held func() []string, before []string, err error) {
	e.Helper()
	var after []string
	same := func() bool {
		after = held()
		return slices.Equal(before, after)
	}
	if len(leftovers(err)) > 0 && e.missing(canSweep()[0]) == "" {
		report, err := univirt.Sweep(e.ctx, p, univirt.SweepOptions{})
		require.NoError(e, err)
		require.Empty(e, report.Failed)
	}
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience/3)
	defer cancel()
	require.True(e, eventually(ctx, same), "what the backend holds, though the error does not say so: %v%s", err, difference(before, after))
}

// losing requires an error to say what became of the backend, unless it is of a kind that
// the call has anyhow.
func (e *env) losing(hangs bool, err, anyhow error) {
	e.Helper()
	switch {
	case !hangs:
		e.unavailable(err, anyhow)
	case err != nil && (anyhow == nil || resource.KindOf(err) != resource.KindOf(anyhow) || contextError(err)):
		e.cancelled(err, context.Canceled)
	}
}

// unavailable requires an error to say that the backend was lost, unless it is of
// a kind that the call has anyhow.
func (e *env) unavailable(err, anyhow error) {
	e.Helper()
	if err == nil || anyhow != nil && resource.KindOf(err) == resource.KindOf(anyhow) {
		return
	}
	e.fails(err, errdefs.ErrUnavailable)
	require.True(e, resource.Retryable(err), "it can be tried again: %v", err)
}

// empty removes all that a case has made.
func (e *env) empty() {
	e.Helper()
	e.vacate()
	require.NoError(e, e.lane.clean(e.ctx, e.lane.images))
}

// reading are the operations that leave the instance as it is, so that one is enough
// for all calls.
var reading = []string{"info", "wait", "logs", "screenshot", "guest", "copy in", "copy out", "files", "dial", "exec"}

// subject returns the way to an instance in which an operation has something to do: one
// that cases share, where something within answers.
func subject(o operation) func(*env) compute.Instance {
	if o.answered() {
		return (*env).reachable
	}
	return cutFrom(o).make
}

func outage(e *env, hangs bool, o operation) {
	begin, after := subject(o), func() {}
	switch o.name {
	case "wait":
		begin = func(e *env) compute.Instance {
			inst := e.running("web")
			e.kill(inst)
			return inst
		}
	case "exec":
		if hangs {
			break
		}
		// The process goes on without the backend, and so may a Wait for it.
		var x compute.Execution
		o.do = func(ctx context.Context, e *env, inst compute.Instance) (err error) {
			x, err = compute.Exec(ctx, inst, guestExec("exit", "7"))
			return err
		}
		after = func() {
			if x != nil {
				require.Equal(e, 7, e.execWait(x).Code)
				x = nil
			}
		}
	}
	inst := begin(e)
	namespace := e.info(inst).Ref.Namespace
	anyhow := o.do(e.ctx, e, inst)
	after()
	var before compute.Info
	with := fixture{func() { inst = begin(e); before = e.info(inst) }, e.empty, func() bool {
		// A console is not given back by whoever lost it.
		return o.name != "console" && untouched(e, inst, before)
	}}
	if slices.Contains(reading, o.name) {
		before = e.info(inst)
		with.prepare, with.clean = func() {}, func() {}
	}
	with.clean()
	e.severed(namespace, hangs, strings.HasPrefix(o.name, "copy"), with,
		func(ctx context.Context, p univirt.Provider) error {
			return o.do(ctx, e, p.Instances().Handle(before.Ref.ID))
		},
		func(err error) {
			after()
			e.losing(hangs, err, anyhow)
			t, inTable := compute.Next(before.State, o.op)
			if !inTable {
				t.To = before.State
			}
			if _, infoErr := inst.Info(e.ctx); isNotFound(infoErr) {
				require.Equal(e, compute.Gone, t.To, "the instance is gone")
				if err != nil {
					require.NotEqual(e, resource.NotDone, outcomeOf(err), "it is gone, and the error says that nothing was done: %v", err)
				}
				return
			}
			allowed := []compute.State{before.State, t.To}
			switch {
			case err == nil && anyhow == nil:
				allowed = []compute.State{t.To}
			case o.op == compute.OpRestart || o.op == compute.OpDeleteForce:
				// They stop it first, and may end there.
				allowed = append(allowed, compute.Stopped)
			}
			e.settles(inst, allowed...)
			after := e.info(inst)
			if o.op == compute.OpRestart {
				// Its error is that of one of the two.
				return
			}
			if err != nil && (before.State != after.State || before.Run != after.Run || before.Revision != after.Revision) {
				require.NotEqual(e, resource.NotDone, outcomeOf(err), "it is %s, and the error says that nothing was done: %v", after.State, err)
			}
		})
}

// outcomeOf is what an error says to have become of the operation.
func outcomeOf(err error) resource.Outcome {
	if re, ok := err.(*resource.Error); ok {
		return re.Outcome
	}
	return resource.NotDone
}

func providerOutage(e *env, hangs bool, o providerOperation) {
	anyhow := o.do(e.ctx, e, e.p)
	e.empty()
	before := e.everything()
	e.severed(e.lane.namespace, hangs, false, fixture{func() {}, e.empty, func() bool { return true }},
		func(ctx context.Context, p univirt.Provider) error { return o.do(ctx, e, p) },
		func(err error) {
			e.losing(hangs, err, anyhow)
			if err != nil && outcomeOf(err) == resource.NotDone {
				require.Equal(e, before, e.everything(), "what there is, though the error says that nothing was done: %v", err)
			}
		})
}
