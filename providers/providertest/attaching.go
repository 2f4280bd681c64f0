package providertest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func attachCases() []testCase {
	attach := has(compute.FeatureAttach)
	stdin := all(has(compute.FeatureAttach, compute.FeatureAttachStdin), fields("process.stdin"))
	return []testCase{
		{"Attach gets the output from now on, until the run ends", all(attach, has(compute.FeatureLogs)), attachOutput},
		{"Attach writes to the main process where the spec asked for input", stdin, attachInput},
		{"Attach with input is FailedPrecondition where the spec did not ask for it", attach, attachNoInput},
		{"Closing an attachment leaves the run alone, and closing twice is nil", attach, attachClose},
		{"Several may be attached, and each gets all output", all(attach, has(compute.FeatureLogs)), attachMany},
		{"Resize of an attachment without a terminal is FailedPrecondition", attach, attachResize},
		{"A context that ends after Attach leaves the attachment alone", all(attach, has(compute.FeatureLogs)), attachContext},
	}
}

// attached joins the output of an instance.
func (e *env) attached(inst compute.Instance) (compute.Attachment, *buffer) {
	e.Helper()
	out := &buffer{}
	a, err := compute.Attach(e.ctx, inst, compute.AttachOptions{Stdout: out})
	require.NoError(e, err)
	return a, out
}

// attachEnds waits for the end of an attachment, which must come.
func (e *env) attachEnds(a compute.Attachment) {
	e.Helper()
	require.NoError(e, e.returns("the attachment", func() error { return a.Wait(e.ctx) }))
	require.NoError(e, a.Close())
}

func attachOutput(e *env) {
	inst := e.ready("web", "signals")
	a, out := e.attached(inst)
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Signal: "SIGTERM", Grace: e.s.h.Patience}))
	e.attachEnds(a)
	require.Equal(e, "TERM\n", out.String())
}

func attachInput(e *env) {
	spec := e.spec("web", "cat")
	spec.Process.Stdin = true
	inst := e.create(spec)
	e.start(inst)
	out := &buffer{}
	r, w := io.Pipe()
	a, err := compute.Attach(e.ctx, inst, compute.AttachOptions{Stdin: r, Stdout: out})
	require.NoError(e, err)
	_, err = io.WriteString(w, "first\n")
	require.NoError(e, err)
	e.eventually("the main process answers", func() bool { return out.String() == "first\n" })
	e.inState(inst, compute.Running)
	require.NoError(e, a.Close())
	require.NoError(e, w.Close())
	e.kill(inst)
}

func attachNoInput(e *env) {
	inst := e.running("web")
	_, err := compute.Attach(e.ctx, inst, compute.AttachOptions{Stdin: strings.NewReader("x")})
	e.fails(err, errdefs.ErrFailedPrecondition)
}

func attachClose(e *env) {
	inst := e.running("web")
	a, _ := e.attached(inst)
	require.NoError(e, a.Close())
	require.NoError(e, a.Close())
	require.NoError(e, e.returns("Wait for what is closed", func() error { return a.Wait(e.ctx) }))
	e.inState(inst, compute.Running)
}

func attachMany(e *env) {
	inst := e.ready("web", "signals")
	var all []compute.Attachment
	var outs []*buffer
	for range 3 {
		a, out := e.attached(inst)
		all, outs = append(all, a), append(outs, out)
	}
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Signal: "SIGTERM", Grace: e.s.h.Patience}))
	for i, a := range all {
		e.attachEnds(a)
		require.Equal(e, "TERM\n", outs[i].String())
	}
}

func attachResize(e *env) {
	a, _ := e.attached(e.running("web"))
	e.fails(a.Resize(e.ctx, compute.TerminalSize{Width: 10, Height: 10}), errdefs.ErrFailedPrecondition)
	require.NoError(e, a.Close())
}

func attachContext(e *env) {
	inst := e.ready("web", "signals")
	out := &buffer{}
	ctx, cancel := context.WithCancel(e.ctx)
	a, err := compute.Attach(ctx, inst, compute.AttachOptions{Stdout: out})
	cancel()
	require.NoError(e, err)
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Signal: "SIGTERM", Grace: e.s.h.Patience}))
	e.attachEnds(a)
	require.Equal(e, "TERM\n", out.String())
}

func dialCases() []testCase {
	dial := has(compute.FeatureDial, compute.FeatureLogs)
	return []testCase{
		{"Dial reaches a port inside, by its number", dial, dialNumber},
		{"Dial reaches a port by its name in the spec", all(dial, fields("ports[].name", "ports[].instance")), dialName},
		{"Dial to a port where nothing listens is Unavailable", has(compute.FeatureDial), dialNothing},
		{"Dial to what is no port is InvalidArgument and names port", has(compute.FeatureDial), dialMalformed},
		{"A context that ends after Dial leaves the connection alone", dial, dialContext},
		{"A connection ends with the run", dial, dialEndsWithRun},
		{"WaitFor health dials the port that the probe names", all(dial, fields("readiness.tcp", "ports[].name")), dialProbe},
	}
}

const dialPort = 4711

// echoing returns the spec of an instance that echoes what it gets on a port.
func (e *env) echoing(name string) compute.Spec {
	spec := e.spec(name, "listen", fmt.Sprintf("0.0.0.0:%d", dialPort))
	if e.missing(fields("ports[].name")[0]) == "" {
		spec.Ports = []network.Port{{Name: "echo", Instance: dialPort}}
	}
	return spec
}

// networked reports whether instances may be on networks.
func (e *env) networked() bool {
	return e.missing(hasNetworks(network.FeatureNetworks)[0]) == "" && e.missing(fields("networks[].network")[0]) == ""
}

// listener is echoing of one that is on a network where that can be: a machine has no
// other way in.
func (e *env) listener(name string) compute.Spec {
	e.Helper()
	spec := e.echoing(name)
	if e.networked() {
		e.network(network.Spec{Name: "lan"})
		spec.Networks = []compute.NetworkAttachment{{Network: "lan"}}
	}
	return spec
}

// reachedByPort returns an instance of which a port can be reached, which cases may
// share.
func (e *env) reachedByPort() compute.Instance {
	e.Helper()
	return e.neighbourOr(func() compute.Instance { return e.listening("web") })
}

// listening makes an instance of which a port can be reached.
func (e *env) listening(name string) compute.Instance {
	e.Helper()
	spec := e.listener(name)
	inst := e.create(spec)
	e.start(inst)
	e.awaitListening(inst)
	if len(spec.Networks) > 0 {
		_, err := e.waitFor(inst, compute.LevelAddress)
		require.NoError(e, err)
	}
	return inst
}

// echoes requires what is written to a connection to come back.
func (e *env) echoes(conn io.ReadWriter) {
	e.Helper()
	err := e.returns("an echo", func() error {
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			return err
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && line != "hello\n" {
			err = fmt.Errorf("what comes back is %q", line)
		}
		return err
	})
	require.NoError(e, err)
}

func dialNumber(e *env) {
	conn, err := compute.Dial(e.ctx, e.reachedByPort(), fmt.Sprint(dialPort))
	require.NoError(e, err)
	e.echoes(conn)
	require.NoError(e, conn.Close())
}

func dialName(e *env) {
	conn, err := compute.Dial(e.ctx, e.reachedByPort(), "echo")
	require.NoError(e, err)
	e.echoes(conn)
	require.NoError(e, conn.Close())
}

func dialNothing(e *env) {
	inst := e.neighbourOr(func() compute.Instance { return e.running("web") })
	err := e.returns("Dial", func() error { _, err := compute.Dial(e.ctx, inst, "9"); return err })
	e.fails(err, errdefs.ErrUnavailable)
}

func dialMalformed(e *env) {
	e.idle = true // as nothing is done
	inst := e.running("web")
	for _, port := range []string{"", "0", "65536", "-1", "no-such-port"} {
		_, err := compute.Dial(e.ctx, inst, port)
		require.ErrorIs(e, err, errdefs.ErrInvalidArgument, "port %q", port)
		require.Equal(e, "port", resource.FaultsOf(err)[0].Field)
	}
}

func dialContext(e *env) {
	inst := e.reachedByPort()
	ctx, cancel := context.WithCancel(e.ctx)
	conn, err := compute.Dial(ctx, inst, fmt.Sprint(dialPort))
	cancel()
	require.NoError(e, err)
	e.echoes(conn)
	require.NoError(e, conn.Close())
}

func dialEndsWithRun(e *env) {
	inst := e.listening("web")
	conn, err := compute.Dial(e.ctx, inst, fmt.Sprint(dialPort))
	require.NoError(e, err)
	e.echoes(conn)
	e.kill(inst)
	_ = e.returns("the connection", func() error { _, err := io.Copy(io.Discard, conn); return err })
	_ = conn.Close()
}

func dialProbe(e *env) {
	spec := e.listener("web")
	spec.Readiness = &compute.Probe{TCP: "echo"}
	inst := e.create(spec)
	e.start(inst)
	_, err := e.waitFor(inst, compute.LevelHealthy)
	require.NoError(e, err)
}
