package providertest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// execResult is how a program ended and what it wrote.
type execResult struct {
	exit           compute.ExecExit
	stdout, stderr string
}

// exec runs a program of package guest in an instance.
func (e *env) exec(inst compute.Instance, program ...string) execResult {
	e.Helper()
	return e.execSpec(inst, compute.ExecSpec{Process: compute.Process{Command: append([]string{GuestPath}, program...)}})
}

// execSpec runs a program whose output it gathers.
func (e *env) execSpec(inst compute.Instance, spec compute.ExecSpec) execResult {
	e.Helper()
	var stdout, stderr buffer
	spec.Stdout, spec.Stderr = &stdout, &stderr
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience)
	defer cancel()
	x, err := e.launch(ctx, inst, spec)
	require.NoError(e, err, "exec %q", spec.Process.Command)
	exit, err := x.Wait(ctx)
	require.NoError(e, err, "wait for %q", spec.Process.Command)
	require.True(e, exit.Known, "the exit of %q is known", spec.Process.Command)
	return execResult{exit, stdout.String(), stderr.String()}
}

// launch is compute.Exec in an instance that may still boot.
func (e *env) launch(ctx context.Context, inst compute.Instance, spec compute.ExecSpec) (compute.Execution, error) {
	x, err := compute.Exec(ctx, inst, spec)
	if !errors.Is(err, errdefs.ErrUnavailable) {
		return x, err
	}
	patient, cancel := context.WithTimeout(ctx, e.s.h.Patience)
	defer cancel()
	if info, failed := compute.WaitFor(patient, inst, compute.LevelAgent); failed != nil || info.State != compute.Running {
		return nil, err
	}
	return compute.Exec(ctx, inst, spec)
}

// reachable returns an instance that runs and answers Exec. Cases share it where
// the harness says so: they neither end its run nor rely upon what is in it.
func (e *env) reachable() compute.Instance {
	e.Helper()
	if !e.s.h.Shared || !e.offers(compute.FeatureExecSignal) {
		inst := e.running("web")
		_, err := e.waitFor(inst, compute.LevelAgent)
		require.NoError(e, err)
		return inst
	}
	ref, err := e.s.shared()
	require.NoError(e, err, "make the instance that cases share")
	return e.open(OpenOptions{Namespace: ref.Namespace}).Instances().Handle(ref.ID)
}

// bystander returns an instance that runs and to which nothing happens: the one that
// cases share, or one that need not answer.
func (e *env) bystander() compute.Instance {
	e.Helper()
	if e.s.h.Shared && e.offers(compute.FeatureExecSignal) {
		return e.reachable()
	}
	e.idle = true
	return e.running("web")
}

// reachableBy is reachable by a further provider value.
func (e *env) reachableBy() (univirt.Provider, compute.Instance) {
	e.Helper()
	inst := e.reachable()
	p := e.open(OpenOptions{Namespace: e.info(inst).Ref.Namespace})
	return p, p.Instances().Handle(inst.ID())
}

// end ends an execution in an instance that reachable returned.
func (e *env) end(inst compute.Instance, x compute.Execution) {
	e.Helper()
	if e.offers(compute.FeatureExecSignal) {
		require.NoError(e, x.Signal(e.ctx, "SIGKILL"))
	} else {
		e.kill(inst)
	}
	e.execWait(x)
}

// output runs a program that must succeed and returns what it prints, without
// the newline at the end.
func (e *env) output(inst compute.Instance, program ...string) string {
	e.Helper()
	r := e.exec(inst, program...)
	require.Zero(e, r.exit.Code, "the exit code of %q, which says: %s", program, r.stderr)
	return strings.TrimSuffix(r.stdout, "\n")
}

// report runs a program that prints JSON.
func report[V any](e *env, inst compute.Instance, program ...string) V {
	e.Helper()
	var v V
	require.NoError(e, json.Unmarshal([]byte(e.output(inst, program...)), &v), "the output of %q", program)
	return v
}

// background starts a program and returns when it has printed a first line.
func (e *env) background(inst compute.Instance, spec compute.ExecSpec) (compute.Execution, *buffer) {
	e.Helper()
	out := &buffer{}
	spec.Stdout = out
	x, err := e.launch(e.ctx, inst, spec)
	require.NoError(e, err, "exec %q", spec.Process.Command)
	e.eventually("the program prints a line", func() bool { return strings.Contains(out.String(), "\n") })
	return x, out
}

// guestExec is the spec of an execution of a program of package guest.
func guestExec(program ...string) compute.ExecSpec {
	return compute.ExecSpec{Process: compute.Process{Command: append([]string{GuestPath}, program...)}}
}

// logs reads lines of output that are kept.
func (e *env) logs(inst compute.Instance, opts compute.LogOptions) []compute.LogLine {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience)
	defer cancel()
	lines, err := resource.Collect(compute.Logs(ctx, inst, opts))
	require.NoError(e, err, "logs")
	return lines
}

// texts returns the text of each line.
func texts(lines []compute.LogLine) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = string(l.Text)
	}
	return out
}

// awaitLine waits until the run under way has printed a line: so a case knows
// that a program is ready.
func (e *env) awaitLine(inst compute.Instance, text string) {
	e.Helper()
	if !e.offers(compute.FeatureLogs) {
		require.Fail(e, "a case that waits for output needs logs")
	}
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience)
	defer cancel()
	var seen []string
	for line, err := range compute.Logs(ctx, inst, compute.LogOptions{Follow: true}) {
		require.NoError(e, err, "follow the logs until %q; seen: %q", text, seen)
		if string(line.Text) == text {
			return
		}
		seen = append(seen, string(line.Text))
	}
	require.Fail(e, "the output ended without the line", "waited for %q, seen: %q", text, seen)
}

// buffer gathers output. Unlike bytes.Buffer it may be read meanwhile.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// readAll reads everything, and nothing of a nil reader.
func readAll(r io.Reader) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	return io.ReadAll(r)
}

// emptyTar returns an archive without any file.
func emptyTar() []byte { return tarOf(nil) }

// tarOf returns an archive of entries: a file, or whatever the header says.
func tarOf(entries []tarEntry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, t := range entries {
		t.header.Size = int64(len(t.content))
		if t.header.Mode == 0 {
			t.header.Mode = 0o644
		}
		// Writing to memory fails only for a header that cannot be.
		if err := w.WriteHeader(&t.header); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, t.content); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

type tarEntry struct {
	header  tar.Header
	content string
}

// sorted returns a sorted copy.
func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }
