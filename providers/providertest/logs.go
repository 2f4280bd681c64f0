package providertest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func logCases() []testCase {
	logs := has(compute.FeatureLogs)
	return []testCase{
		{"Logs yields the lines of both streams with their times, oldest first", has(compute.FeatureLogs, compute.FeatureLogsSplit), logsBoth},
		{"Logs may be limited to a stream", has(compute.FeatureLogs, compute.FeatureLogsSplit), logsStreams},
		{"A last line without a newline is kept and said to be partial", logs, logsPartial},
		{"An instance that never ran has no lines", logs, logsNothing},
		{"Logs of a run that is not known are NotFound and name run", logs, logsUnknownRun},
		{"A tail is the last lines", logs, logsTail},
		{"Since and Until bound the times of the lines", has(compute.FeatureLogs, compute.FeatureLogsTimes), logsTimes},
		{"Logs without Follow end with what is there", logs, logsNow},
		{"Following yields new lines as they come and ends with the run", logs, logsFollow},
		{"Following a run that is over ends with its last line", logs, logsFollowEnded},
		{"Following with a tail begins with the last lines", logs, logsFollowTail},
		{"Following ends with its context", logs, logsFollowCancelled},
		{"Many may follow, and leave early", logs, logsFollowMany},
		{"Each range over logs starts anew", logs, logsAnew},
		{"The lines of an earlier run are told apart from those of a later", logs, logsRuns},
		{"Lines of any bytes and any length arrive whole", logs, logsBytes},
		{"Nothing of a large output is lost", logs, logsFlood},
		{"Logs outlive the provider value that made the instance", has(compute.FeatureLogs, compute.FeatureLogsDurable), logsOutlive},
		{"Logs go on while no provider value is open that made the instance", has(compute.FeatureLogs, compute.FeatureLogsDurable), logsGoOn},
		{"CopyLogs writes the output as it was", has(compute.FeatureLogs, compute.FeatureLogsSplit), logsCopied},
	}
}

// toldLines are what the instance has said that told returns.
var toldLines = []string{"line 1", "line 2", "line 3", "line 4", "line 5", "line 6", "line 7", "line 8", "line 9", "line 10"}

// told returns an instance whose program has said its lines and ended. Cases may
// share it as they do that of reachable.
func (e *env) told() compute.Instance {
	e.Helper()
	if !e.s.h.Shared {
		return e.ended("job", "lines", "10", "0s")
	}
	ref, err := e.s.told()
	require.NoError(e, err, "make the instance that cases share")
	return e.open(OpenOptions{Namespace: ref.Namespace}).Instances().Handle(ref.ID)
}

// talking returns an instance whose program has said "ready" and waits. Cases may
// share it as they do that of reachable.
func (e *env) talking() compute.Instance {
	e.Helper()
	if !e.s.h.Shared {
		return e.ready("web", "signals")
	}
	ref, err := e.s.talking()
	require.NoError(e, err, "make the instance that cases share")
	inst := e.open(OpenOptions{Namespace: ref.Namespace}).Instances().Handle(ref.ID)
	e.awaitLine(inst, "ready")
	return inst
}

// signalled needs that a Stop sends the signal that it is told.
var signalled = fields("stopSignal")

// needsSignals leaves the case out where a Stop sends none.
func (e *env) needsSignals() {
	if reason := e.missing(signalled[0]); reason != "" {
		panic(leftOut{reason})
	}
}

func logsUnknownRun(e *env) {
	for _, inst := range []compute.Instance{e.stopped("web"), e.told()} {
		for _, follow := range []bool{false, true} {
			lines, err := resource.Collect(compute.Logs(e.ctx, inst, compute.LogOptions{Run: "none-such", Follow: follow}))
			e.failsField(err, errdefs.ErrNotFound, "run")
			require.Empty(e, lines)
		}
	}
}

func logsBoth(e *env) {
	before := time.Now()
	inst := e.ended("job", "both", "3")
	lines := e.logs(inst, compute.LogOptions{Follow: true})
	require.Len(e, lines, 6)
	byStream := map[compute.Stream][]string{}
	run := e.info(inst).Run
	for i, line := range lines {
		byStream[line.Stream] = append(byStream[line.Stream], string(line.Text))
		require.Equal(e, run, line.Run)
		require.False(e, line.Partial)
		require.WithinRange(e, line.Time, before.Add(-time.Hour), time.Now().Add(time.Hour))
		if i > 0 {
			require.False(e, line.Time.Before(lines[i-1].Time), "line %d is older than the one before", i)
		}
	}
	require.Equal(e, map[compute.Stream][]string{
		compute.Stdout: {"out 1", "out 2", "out 3"},
		compute.Stderr: {"err 1", "err 2", "err 3"},
	}, byStream)
}

func logsStreams(e *env) {
	inst := e.ended("job", "both", "2")
	for stream, want := range map[compute.Stream][]string{compute.Stdout: {"out 1", "out 2"}, compute.Stderr: {"err 1", "err 2"}} {
		lines := e.logs(inst, compute.LogOptions{Follow: true, Streams: []compute.Stream{stream}})
		require.Equal(e, want, texts(lines))
	}
}

func logsPartial(e *env) {
	inst := e.ended("job", "printf", "first\nsecond without newline")
	lines := e.logs(inst, compute.LogOptions{Follow: true})
	require.Equal(e, []string{"first", "second without newline"}, texts(lines))
	require.False(e, lines[0].Partial)
	require.True(e, lines[1].Partial)
}

func logsNothing(e *env) {
	require.Empty(e, e.logs(e.stopped("web"), compute.LogOptions{}))
	other := e.stopped("other")
	err := e.returns("following what never ran", func() error {
		ctx, cancel := context.WithTimeout(e.ctx, 50*time.Millisecond)
		defer cancel()
		for _, err := range compute.Logs(ctx, other, compute.LogOptions{Follow: true}) {
			return err
		}
		return nil
	})
	if err != nil {
		e.cancelled(err, context.DeadlineExceeded)
	}
}

func logsTail(e *env) {
	inst := e.told()
	for tail, want := range map[int][]string{
		1:  {"line 10"},
		3:  {"line 8", "line 9", "line 10"},
		99: toldLines,
	} {
		require.Equal(e, want, texts(e.logs(inst, compute.LogOptions{Tail: tail})), "a tail of %d", tail)
	}
}

func logsTimes(e *env) {
	var inst compute.Instance
	var lines []compute.LogLine
	// Lines that are read at once have one time, which happens where whoever reads them
	// comes late.
	for try, pause := 0, 20*time.Millisecond; ; try, pause = try+1, 5*pause {
		inst = e.ended(fmt.Sprintf("job-%d", try), "lines", "3", pause.String())
		lines = e.logs(inst, compute.LogOptions{Follow: true})
		require.Len(e, lines, 3)
		if lines[0].Time.Before(lines[1].Time) && lines[1].Time.Before(lines[2].Time) {
			break
		}
		require.Less(e, try, 3, "the times of lines that were written %s apart are the same: %v", pause, lines)
	}
	second := lines[1].Time
	require.Equal(e, []string{"line 2", "line 3"}, texts(e.logs(inst, compute.LogOptions{Since: second})))
	require.Equal(e, []string{"line 1"}, texts(e.logs(inst, compute.LogOptions{Until: second})))
	require.Equal(e, []string{"line 2"}, texts(e.logs(inst, compute.LogOptions{Since: second, Until: lines[2].Time})))
	require.Equal(e, []string{"line 2"}, texts(e.logs(inst, compute.LogOptions{Until: lines[2].Time, Tail: 1})))
	require.Empty(e, e.logs(inst, compute.LogOptions{Since: lines[2].Time.Add(time.Hour)}))
}

func logsNow(e *env) {
	inst := e.talking()
	lines := []compute.LogLine{}
	require.NoError(e, e.returns("logs without Follow", func() error { lines = e.logs(inst, compute.LogOptions{}); return nil }))
	require.Equal(e, []string{"ready"}, texts(lines))
}

func logsFollow(e *env) {
	inst := e.ready("web", "signals")
	seen := make(chan string, 16)
	done := make(chan error, 1)
	go func() {
		defer close(seen)
		for line, err := range compute.Logs(e.ctx, inst, compute.LogOptions{Follow: true}) {
			if err != nil {
				done <- err
				return
			}
			seen <- string(line.Text)
		}
		done <- nil
	}()
	next := func(want string) {
		e.Helper()
		var got string
		require.NoError(e, e.returns("a line", func() error { got = <-seen; return nil }))
		require.Equal(e, want, got)
	}
	next("ready")
	stopped := make(chan error, 1)
	stopped <- nil
	if e.missing(signalled[0]) == "" {
		<-stopped
		go func() {
			stopped <- inst.Stop(e.ctx, compute.StopOptions{Signal: "SIGHUP", Grace: time.Hour})
		}()
		// The line comes while the run is under way: nothing else would end the grace.
		next("HUP")
	}
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Grace: 30 * time.Minute}))
	next("TERM")
	require.NoError(e, e.returns("following", func() error { return <-done }))
	require.NoError(e, <-stopped)
}

func logsFollowEnded(e *env) {
	inst := e.told()
	require.Equal(e, toldLines, texts(e.logs(inst, compute.LogOptions{Follow: true})))
}

func logsFollowTail(e *env) {
	inst := e.told()
	require.Equal(e, []string{"line 9", "line 10"}, texts(e.logs(inst, compute.LogOptions{Follow: true, Tail: 2})))
}

func logsFollowCancelled(e *env) {
	inst := e.talking()
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	var last error
	err := e.returns("following with a context that ends", func() error {
		for _, err := range compute.Logs(ctx, inst, compute.LogOptions{Follow: true}) {
			last = err
			cancel()
		}
		return nil
	})
	require.NoError(e, err)
	e.cancelled(last, context.Canceled)
}

func logsFollowMany(e *env) {
	inst := e.talking()
	for _, err := range e.together(crowd, func(i int) error {
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		for line, err := range compute.Logs(ctx, inst, compute.LogOptions{Follow: true}) {
			if err != nil {
				return err
			}
			if string(line.Text) != "ready" {
				return fmt.Errorf("reader %d sees %q", i, line.Text)
			}
			break
		}
		return nil
	}) {
		require.NoError(e, err)
	}
	e.inState(inst, compute.Running)
}

func logsAnew(e *env) {
	inst := e.told()
	stream := compute.Logs(e.ctx, inst, compute.LogOptions{})
	for range 2 {
		n := 0
		for _, err := range stream {
			require.NoError(e, err)
			n++
		}
		require.Equal(e, len(toldLines), n)
	}
}

func logsRuns(e *env) {
	inst := e.ended("job", "pid")
	first := e.info(inst).Run
	require.Len(e, e.logs(inst, compute.LogOptions{Follow: true}), 1)
	e.start(inst)
	e.wait(inst)
	second := e.info(inst).Run
	lines := e.logs(inst, compute.LogOptions{Follow: true})
	require.Len(e, lines, 1, "without a run's name the lines are the last run's")
	require.Equal(e, second, lines[0].Run)
	for _, line := range e.logs(inst, compute.LogOptions{Run: first}) {
		require.Equal(e, first, line.Run, "a provider may have let the lines of an earlier run go")
	}
}

func logsBytes(e *env) {
	// An argument may have 128 KiB on Linux.
	text := "\x1b[31mred\x1b[0m\ttab\r\n\nü€😀\n" + strings.Repeat("0123456789", 10_000) + "\nend\n"
	inst := e.ended("job", "printf", text)
	var whole bytes.Buffer
	for _, line := range e.logs(inst, compute.LogOptions{Follow: true}) {
		whole.Write(line.Text)
		if !line.Partial {
			whole.WriteByte('\n')
		}
	}
	require.Equal(e, len(text), whole.Len())
	require.True(e, text == whole.String(), "the output differs from what was written")
}

func logsFlood(e *env) {
	const size = 4 << 20
	inst := e.ended("job", "flood", fmt.Sprint(size))
	var whole bytes.Buffer
	err := e.returns("CopyLogs", func() error {
		return compute.CopyLogs(e.ctx, inst, compute.LogOptions{Follow: true}, &whole, nil)
	})
	require.NoError(e, err)
	e.flooded("stdout", size, whole.Bytes())
}

func logsOutlive(e *env) {
	maker := e.open(OpenOptions{})
	inst, err := maker.Instances().Create(e.ctx, e.spec("job", "printf", "text without newline"))
	require.NoError(e, err)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	_, err = inst.Wait(e.ctx, compute.WaitOptions{})
	require.NoError(e, err)
	require.NoError(e, maker.Close())
	found, err := e.open(OpenOptions{}).Instances().Get(e.ctx, "job")
	require.NoError(e, err)
	require.Equal(e, []string{"text without newline"}, texts(e.logs(found, compute.LogOptions{Follow: true})))
}

func logsGoOn(e *env) {
	maker := e.open(OpenOptions{})
	inst, err := maker.Instances().Create(e.ctx, e.spec("web", "signals"))
	require.NoError(e, err)
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}))
	e.awaitLine(inst, "ready")
	require.NoError(e, maker.Close())
	found, err := e.instances().Get(e.ctx, "web")
	require.NoError(e, err)
	require.NoError(e, found.Stop(e.ctx, compute.StopOptions{Grace: e.s.h.Patience}))
	require.Equal(e, []string{"ready", "TERM"}, texts(e.logs(found, compute.LogOptions{Follow: true})))
}

func logsCopied(e *env) {
	inst := e.ended("job", "both", "2")
	var stdout, stderr bytes.Buffer
	require.NoError(e, compute.CopyLogs(e.ctx, inst, compute.LogOptions{Follow: true}, &stdout, &stderr))
	require.Equal(e, "out 1\nout 2\n", stdout.String())
	require.Equal(e, "err 1\nerr 2\n", stderr.String())
}
