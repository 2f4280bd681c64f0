package providertest

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func consoleCases() []testCase {
	console := has(compute.FeatureConsole)
	talks := has(compute.FeatureConsole, compute.FeatureLogs)
	return []testCase{
		{"A console shows the output from now on, and ends with the run", talks, consoleOutput},
		{"What is typed into a console reaches the program", all(console, fields("process.stdin")), consoleInput},
		{"A second console is FailedPrecondition, by another provider value too, and the first goes on", talks, consoleOnce},
		{"A console that takes over ends the other and leaves the run alone", talks, consoleTakesOver},
		{"Closing a console leaves the run alone and makes room for another, and closing twice is nil", console, consoleClose},
		{"A console of an instance that does not run is FailedPrecondition", console, consoleStopped},
		{"A context that ends after Console leaves the connection alone", talks, consoleContext},
		{"Closing the provider ends its consoles and makes room for another's", console, consoleProviderClosed},
	}
}

// console connects to the console of an instance.
func (e *env) console(inst compute.Instance, opts compute.ConsoleOptions) io.ReadWriteCloser {
	e.Helper()
	c, err := compute.Console(e.ctx, inst, opts)
	require.NoError(e, err)
	return c
}

// shown reads a console to its end, which must come.
func (e *env) shown(c io.Reader) string {
	e.Helper()
	var text []byte
	// How a connection ends that nobody closed is not said: by its end or an error.
	_ = e.returns("the end of a console", func() (err error) { text, err = io.ReadAll(c); return err })
	return string(text)
}

// hangUp asks the program "signals", which says what it gets, to end.
func (e *env) hangUp(inst compute.Instance) {
	e.Helper()
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Grace: e.s.h.Patience}))
}

func consoleOutput(e *env) {
	inst := e.ready("web", "signals")
	c := e.console(inst, compute.ConsoleOptions{})
	e.hangUp(inst)
	text := e.shown(c)
	require.Contains(e, text, "TERM")
	require.NotContains(e, text, "ready", "what was there before")
	require.NoError(e, c.Close())
}

func consoleInput(e *env) {
	spec := e.spec("web", "cat")
	spec.Process.Stdin = true
	inst := e.create(spec)
	e.start(inst)
	c := e.console(inst, compute.ConsoleOptions{})
	_, err := io.WriteString(c, "typed\n")
	require.NoError(e, err)
	// A terminal may echo what is typed, and end lines in its own way.
	var text strings.Builder
	err = e.returns("the answer", func() error {
		for b := make([]byte, 256); !strings.Contains(text.String(), "typed"); {
			n, err := c.Read(b)
			text.Write(b[:n])
			if err != nil {
				return fmt.Errorf("after %q: %w", &text, err)
			}
		}
		return nil
	})
	require.NoError(e, err)
	require.NoError(e, c.Close())
}

func consoleOnce(e *env) {
	inst := e.ready("web", "signals")
	c := e.console(inst, compute.ConsoleOptions{})
	for _, by := range []compute.Instance{inst, e.open(OpenOptions{}).Instances().Handle(inst.ID())} {
		_, err := compute.Console(e.ctx, by, compute.ConsoleOptions{})
		re := e.fails(err, errdefs.ErrFailedPrecondition)
		require.Equal(e, "console", re.Op)
	}
	e.hangUp(inst)
	require.Contains(e, e.shown(c), "TERM")
	require.NoError(e, c.Close())
}

func consoleTakesOver(e *env) {
	inst := e.ready("web", "signals")
	first := e.console(inst, compute.ConsoleOptions{})
	second := e.console(inst, compute.ConsoleOptions{TakeOver: true})
	require.NotContains(e, e.shown(first), "TERM")
	_ = first.Close()
	_, err := compute.Console(e.ctx, inst, compute.ConsoleOptions{})
	e.fails(err, errdefs.ErrFailedPrecondition)
	e.inState(inst, compute.Running)
	e.hangUp(inst)
	require.Contains(e, e.shown(second), "TERM", "closing the first ends nothing of the second")
	require.NoError(e, second.Close())
}

func consoleClose(e *env) {
	inst := e.running("web")
	run := e.info(inst).Run
	for range 2 {
		c := e.console(inst, compute.ConsoleOptions{})
		require.NoError(e, c.Close())
		require.NoError(e, c.Close())
		e.shown(c)
	}
	info := e.info(inst)
	require.Equal(e, compute.Running, info.State)
	require.Equal(e, run, info.Run)
}

func consoleStopped(e *env) {
	for _, inst := range []compute.Instance{e.stopped("new"), e.ended("job", "exit", "0")} {
		_, err := compute.Console(e.ctx, inst, compute.ConsoleOptions{})
		e.fails(err, errdefs.ErrFailedPrecondition)
		e.inState(inst, compute.Stopped)
	}
}

func consoleContext(e *env) {
	inst := e.ready("web", "signals")
	ctx, cancel := context.WithCancel(e.ctx)
	c, err := compute.Console(ctx, inst, compute.ConsoleOptions{})
	cancel()
	require.NoError(e, err)
	e.hangUp(inst)
	require.Contains(e, e.shown(c), "TERM")
	require.NoError(e, c.Close())
}

func consoleProviderClosed(e *env) {
	inst := e.running("web")
	p := e.open(OpenOptions{})
	c := e.console(p.Instances().Handle(inst.ID()), compute.ConsoleOptions{})
	require.NoError(e, p.Close())
	e.shown(c)
	_ = c.Close()
	require.NoError(e, e.console(inst, compute.ConsoleOptions{}).Close())
	e.inState(inst, compute.Running)
}

func screenshotCases() []testCase {
	screenshot := has(compute.FeatureScreenshot)
	return []testCase{
		{"A screenshot has a size, and changes nothing", screenshot, screenshotTaken},
		{"A screenshot of an instance that does not run is FailedPrecondition", screenshot, screenshotStopped},
		{"A screenshot of a screen that is not there is InvalidArgument and names screen", screenshot, screenshotOfNoScreen},
	}
}

func screenshotTaken(e *env) {
	inst := e.running("web")
	before := e.info(inst)
	picture, err := compute.Screenshot(e.ctx, inst, compute.ScreenshotOptions{})
	require.NoError(e, err)
	require.NotNil(e, picture)
	require.False(e, picture.Bounds().Empty())
	after := e.info(inst)
	require.Equal(e, before.Run, after.Run)
	require.Equal(e, before.State, after.State)
	require.Equal(e, before.Revision, after.Revision)
}

func screenshotStopped(e *env) {
	for _, inst := range []compute.Instance{e.stopped("new"), e.ended("job", "exit", "0")} {
		_, err := compute.Screenshot(e.ctx, inst, compute.ScreenshotOptions{})
		e.fails(err, errdefs.ErrFailedPrecondition)
	}
}

func screenshotOfNoScreen(e *env) {
	inst := e.running("web")
	for _, screen := range []int{-1, 1000} {
		_, err := compute.Screenshot(e.ctx, inst, compute.ScreenshotOptions{Screen: screen})
		e.failsField(err, errdefs.ErrInvalidArgument, "screen")
	}
}
