package fake

import (
	"maps"
	"slices"

	"github.com/univirt/univirt/resource"
)

// T is what Test needs of a *testing.T, so that package testing is not linked
// into programs. A *testing.B, a *testing.F and a *rapid.T will do too.
type T interface {
	Helper()
	Name() string
	Failed() bool
	Cleanup(func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Test makes a value for a test, and closes it when the test ends. It fails the
// test for options and faults that make no sense, and for programs that had to be
// abandoned; for injected faults that never struck where Options.RequireFaults
// asks for it, and for what was left behind where Options.RequireEmpty does. Where
// the test failed the log has the backend's Dump.
func Test(t T, opts Options) *Provider {
	t.Helper()
	if opts.Owner == "" {
		opts.Owner = t.Name()
	}
	p := New(opts)
	if p.broken != nil {
		t.Fatalf("fake: options: %v", p.broken)
	}
	p.report = func(err error) { t.Errorf("%v", err) }
	if opts.Backend == nil {
		p.backend.report = p.report
	}
	t.Cleanup(func() {
		t.Helper()
		if t.Failed() {
			t.Logf("fake: what was there at the end:\n%s", p.Dump())
		}
		if opts.RequireFaults {
			unused := p.faults.unused()
			if opts.Backend == nil {
				unused = append(unused, p.backend.faults.unused()...)
			}
			for _, i := range unused {
				t.Errorf("fake: this fault never struck: %s", i)
			}
		}
		_ = p.Close()
		if opts.RequireEmpty && !t.Failed() {
			for _, ref := range p.left(opts.Backend == nil) {
				t.Errorf("fake: the test left behind %s", ref)
			}
		}
		if opts.Backend == nil {
			_ = p.backend.Close()
		}
		for _, program := range p.backend.Abandoned() {
			t.Errorf("fake: %s did not return when its context was done", program)
		}
	})
	return p
}

// left lists what is there beside images: on the whole backend, or only what the
// value owns.
func (p *Provider) left(all bool) []resource.Ref {
	b := p.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []resource.Ref
	for _, name := range slices.Sorted(maps.Keys(b.spaces)) {
		for _, o := range b.spaces[name].objects() {
			if o.managed && o.kind != resource.KindImage && (all || o.owner.Generation == p.owner.Generation) {
				out = append(out, o.ref())
			}
		}
	}
	return out
}
