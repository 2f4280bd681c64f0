package providertest

// T is what cases need of *testing.T. It is an interface so that a test of the
// suite itself can see a case fail.
type T interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	// FailNow ends the calling goroutine.
	FailNow()
	Failed() bool
}
