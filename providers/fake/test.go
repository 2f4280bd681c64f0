package fake

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
// abandoned; and for injected faults that never struck where
// Options.RequireFaults asks for it. Where the test failed the log has the
// backend's Dump.
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
		if opts.Backend == nil {
			_ = p.backend.Close()
		}
		for _, program := range p.backend.Abandoned() {
			t.Errorf("fake: %s did not return when its context was done", program)
		}
	})
	return p
}
