package providertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// loopCases are about code of the caller's that runs in the middle of an
// operation: the body of a loop, a hook, a report, a reader or writer. It may call
// anything, and Close above all.
func loopCases() []testCase {
	var cases []testCase
	for _, l := range loops() {
		cases = append(cases,
			testCase{"Close within a loop over " + l.name + " returns, and the loop ends", l.needs,
				func(e *env) { closeWithin(e, l) }},
			testCase{"Within a loop over " + l.name + " an instance can be read, changed, stopped and deleted", l.needs,
				func(e *env) { changeWithin(e, l) }},
		)
	}
	for _, c := range callbacks() {
		cases = append(cases, testCase{"Close does not wait for " + c.name, c.needs,
			func(e *env) { closeDuring(e, c) }})
	}
	return cases
}

// loop is an iterator of the contract.
type loop struct {
	name  string
	needs []need
	// over makes what the loop is over, one element at least, and returns the
	// errors of its pairs. The instance runs.
	over func(ctx context.Context, e *env, p univirt.Provider, inst compute.Instance) iter.Seq[error]
	// lasts says that the loop goes on as long as the instance is there, and endless
	// that it goes on after that.
	lasts, endless bool
}

func loops() []loop {
	type looping = iter.Seq[error]
	return []loop{
		{name: "instances", over: func(ctx context.Context, _ *env, p univirt.Provider, _ compute.Instance) looping {
			return faultsOf(p.Instances().List(ctx, compute.Filter{}))
		}},
		{name: "stats", needs: has(compute.FeatureStats), over: func(ctx context.Context, _ *env, p univirt.Provider, _ compute.Instance) looping {
			return faultsOf(p.Instances().Stats(ctx, compute.Filter{}))
		}},
		{name: "logs", needs: has(compute.FeatureLogs), over: func(ctx context.Context, e *env, _ univirt.Provider, inst compute.Instance) looping {
			e.awaitLine(inst, "ready")
			return faultsOf(compute.Logs(ctx, inst, compute.LogOptions{}))
		}},
		{name: "logs that are followed", needs: has(compute.FeatureLogs), lasts: true, over: func(ctx context.Context, e *env, _ univirt.Provider, inst compute.Instance) looping {
			e.awaitLine(inst, "ready")
			return faultsOf(compute.Logs(ctx, inst, compute.LogOptions{Follow: true}))
		}},
		{name: "events", lasts: true, endless: true, over: func(ctx context.Context, _ *env, p univirt.Provider, _ compute.Instance) looping {
			return faultsOf(p.Watch(ctx, resource.WatchOptions{}))
		}},
		{name: "the events of an instance", lasts: true, over: func(ctx context.Context, e *env, _ univirt.Provider, inst compute.Instance) looping {
			watcher, ok := resource.As[compute.Watcher](inst)
			require.True(e, ok, "an instance is no Watcher")
			return faultsOf(watcher.Watch(ctx))
		}},
		{name: "an instance's snapshots", needs: has(compute.FeatureSnapshot), over: func(ctx context.Context, e *env, _ univirt.Provider, inst compute.Instance) looping {
			e.take(inst, "one")
			return faultsOf(e.snapshots(inst).Snapshots(ctx))
		}},
		{name: "images", needs: hook("Image"), over: func(ctx context.Context, _ *env, p univirt.Provider, _ compute.Instance) looping {
			return faultsOf(p.Images().List(ctx, compute.ImageFilter{}))
		}},
		{name: "volumes", needs: hasVolumes(storage.FeatureVolumes), over: func(ctx context.Context, e *env, p univirt.Provider, _ compute.Instance) looping {
			e.volume(storage.Spec{Name: "data"})
			return faultsOf(p.Volumes().List(ctx, storage.Filter{}))
		}},
		{name: "pools", needs: hasVolumes(storage.FeaturePools), over: func(ctx context.Context, _ *env, p univirt.Provider, _ compute.Instance) looping {
			return faultsOf(storage.Pools(ctx, p.Volumes()))
		}},
		{name: "a volume's snapshots", needs: hasVolumes(storage.FeatureSnapshot), over: func(ctx context.Context, e *env, p univirt.Provider, _ compute.Instance) looping {
			snapshots, err := storage.Snapshots(p.Volumes().Handle(e.volume(storage.Spec{Name: "data"}).ID()))
			require.NoError(e, err)
			_, err = snapshots.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "one"})
			require.NoError(e, err)
			return faultsOf(snapshots.Snapshots(ctx))
		}},
		{name: "networks", needs: hasNetworks(network.FeatureNetworks), over: func(ctx context.Context, e *env, p univirt.Provider, _ compute.Instance) looping {
			e.network(network.Spec{Name: "net"})
			return faultsOf(p.Networks().List(ctx, network.Filter{}))
		}},
		{name: "endpoints", needs: hasNetworks(network.FeatureNetworks), over: func(ctx context.Context, e *env, p univirt.Provider, _ compute.Instance) looping {
			n := p.Networks().Handle(e.network(network.Spec{Name: "net"}).ID())
			_, err := n.Reserve(ctx, network.EndpointSpec{Name: "host"})
			require.NoError(e, err)
			return faultsOf(n.Endpoints(ctx, network.EndpointFilter{}))
		}},
	}
}

// faultsOf leaves out all of an iterator but its errors.
func faultsOf[T any](stream iter.Seq2[T, error]) iter.Seq[error] {
	return func(yield func(error) bool) {
		for _, err := range stream {
			if !yield(err) {
				return
			}
		}
	}
}

// begin makes what the loop is over, by a provider value of its own, and the
// function that goes through it.
func (l loop) begin(e *env) (univirt.Provider, compute.Instance, func(here func() bool) error) {
	program := inert
	if slices.Contains(l.needs, has(compute.FeatureLogs)[0]) {
		program = []string{"signals"}
	}
	inst := e.running("web", program...)
	p := e.open(OpenOptions{})
	inst = p.Instances().Handle(inst.ID())
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience)
	stream := l.over(ctx, e, p, inst)
	return p, inst, func(here func() bool) error {
		defer cancel()
		var last error
		for err := range stream {
			if err != nil {
				last = err
				continue
			}
			if !here() {
				break
			}
		}
		return last
	}
}

func closeWithin(e *env, l loop) {
	p, _, loop := l.begin(e)
	err := e.within("the loop", func(here func()) error {
		return loop(func() bool { here(); return true })
	}, func() {
		require.NoError(e, e.returns("Close", p.Close))
	})
	if err != nil || l.lasts {
		e.fails(err, resource.ErrClosed)
	}
}

func changeWithin(e *env, l loop) {
	_, inst, loop := l.begin(e)
	err := e.within("the loop", func(here func()) error {
		return loop(func() bool { here(); return !l.endless })
	}, func() {
		for _, o := range []struct {
			name string
			do   func() error
		}{
			{"Info", func() error { _, err := inst.Info(e.ctx); return err }},
			{"Update", func() error { return inst.Update(e.ctx, compute.Change{Labels: labelsOf("tier", "web")}) }},
			{"List", func() error { _, err := resource.Collect(e.instances().List(e.ctx, compute.Filter{})); return err }},
			{"Stop", func() error { return inst.Stop(e.ctx, compute.StopOptions{Force: true}) }},
			{"Delete", func() error { return inst.Delete(e.ctx, compute.DeleteOptions{}) }},
		} {
			require.NoError(e, e.returns(o.name, o.do), o.name)
		}
	})
	if !isNotFound(err) {
		require.NoError(e, err)
	}
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

// within does something while an operation runs code of the caller's: run begins
// the operation such that this code calls here, which returns when do has.
// It returns what run does.
func (e *env) within(what string, run func(here func()) error, do func()) error {
	e.Helper()
	inside, over := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(over) })
	defer release() // whatever becomes of the case
	here := sync.OnceFunc(func() { close(inside); <-over })
	done := make(chan error, 1)
	go func() { done <- run(here) }()
	require.NoError(e, e.returns("the way into "+what, func() error {
		select {
		case <-inside:
			return nil
		case err := <-done:
			return errors.Join(errors.New("it was over before it came to the caller's code"), err)
		}
	}))
	do()
	release()
	return e.returns(what, func() error { return <-done })
}

// callback is a function of the caller's that an operation calls.
type callback struct {
	name  string
	needs []need
	// run does an operation in which the function calls here.
	run func(e *env, p univirt.Provider, here func()) error
}

func callbacks() []callback {
	pull := all(hasImages(compute.FeaturePull), hook("Remote"))
	imports := all(hasImages(compute.FeatureImport), hook("Archive"))
	archive := func(e *env) *bytes.Buffer {
		var b bytes.Buffer
		_, err := e.s.h.Archive(&b, compute.OCIArchive)
		require.NoError(e, err)
		return &b
	}
	return []callback{
		{"a report of a Pull's progress", all(pull, hasImages(compute.FeatureProgress)), func(e *env, p univirt.Provider, here func()) error {
			_, err := p.Images().Pull(e.ctx, e.s.h.Remote, compute.PullOptions{Progress: func(resource.Progress) { here() }})
			return err
		}},
		{"a Pull's Verify", pull, func(e *env, p univirt.Provider, here func()) error {
			_, err := p.Images().Pull(e.ctx, e.s.h.Remote, compute.PullOptions{Verify: func(context.Context, string, string) error { here(); return nil }})
			return err
		}},
		{"an Import's Verify", imports, func(e *env, p univirt.Provider, here func()) error {
			opts := e.under("localhost/called:1")
			opts.Verify = func(context.Context, string, string) error { here(); return nil }
			_, err := p.Images().Import(e.ctx, compute.ImageSource{Reader: archive(e), Format: e.format()}, opts)
			return err
		}},
		{"the reader of an Import", imports, func(e *env, p univirt.Provider, here func()) error {
			_, err := p.Images().Import(e.ctx, compute.ImageSource{Reader: calling{archive(e), here}, Format: e.format()}, e.under("localhost/called:1"))
			return err
		}},
		{"the writer of an Export", hasImages(compute.FeatureExport), func(e *env, p univirt.Provider, here func()) error {
			return p.Images().Export(e.ctx, calling{nil, here}, []string{e.s.h.Image}, compute.ExportOptions{})
		}},
		{"the writer of an execution's output", has(compute.FeatureExec), func(e *env, p univirt.Provider, here func()) error {
			inst, err := p.Instances().Get(e.ctx, "web")
			if err != nil {
				return err
			}
			spec := guestExec("echo", "here")
			spec.Stdout = calling{nil, here}
			x, err := e.launch(e.ctx, inst, spec)
			if err != nil {
				return err
			}
			_, err = x.Wait(e.ctx)
			return err
		}},
		{"the writer of a volume's Export", hasVolumes(storage.FeatureTransfer), func(e *env, p univirt.Provider, here func()) error {
			v, err := p.Volumes().Create(e.ctx, storage.Spec{Name: "data"})
			if err != nil {
				return err
			}
			return storage.Export(e.ctx, v, calling{nil, here}, storage.TransferOptions{Format: storage.Tar})
		}},
	}
}

// calling reads from a reader and writes to nowhere, and calls a function first.
type calling struct {
	io.Reader
	here func()
}

func (c calling) Read(b []byte) (int, error)  { c.here(); return c.Reader.Read(b) }
func (c calling) Write(b []byte) (int, error) { c.here(); return len(b), nil }

func closeDuring(e *env, c callback) {
	e.running("web")
	p := e.open(OpenOptions{})
	err := e.within("the operation", func(here func()) error { return c.run(e, p, here) }, func() {
		require.NoError(e, e.returns("Close", p.Close))
	})
	if err != nil {
		e.fails(err, resource.ErrClosed)
	}
}
