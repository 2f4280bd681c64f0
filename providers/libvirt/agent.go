//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"cmp"
	"context"
	"encoding/json"
	"sync"
	"time"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/turns"
)

// guestAgent is what does the host's bidding in one guest. Each call ends with its
// context, whatever the guest does; one that is not there yet is Unavailable. Files,
// guest information, addresses and processors still ask qemuAgent by name: an agent of
// another kind takes them over one by one.
type guestAgent interface {
	// exec starts a process. What it was not told by the spec it has from the agent.
	exec(ctx context.Context, spec compute.ExecSpec) (compute.Execution, error)
}

// agentQueue bounds how many agents are spoken to at once. A call to one that
// hangs cannot be ended, and occupies a connection until libvirt gives up on it:
// others must not wait for that.
type agentQueue struct {
	turns turns.Queue
	once  sync.Once
	slots chan struct{}
}

// agentsAtOnce leaves connections for what needs no guest.
const agentsAtOnce = atOnce / 2

// take waits until the agent of an instance may be spoken to. What it returns gives
// that back, and may be called many times.
func (q *agentQueue) take(ctx context.Context, id string) (release func(), err error) {
	q.once.Do(func() { q.slots = make(chan struct{}, agentsAtOnce) })
	pass, err := q.turns.Take(ctx, id)
	if err != nil {
		return nil, ended(ctx)
	}
	select {
	case q.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-q.slots; pass() }), nil
	case <-ctx.Done():
		pass()
		return nil, ended(ctx)
	}
}

// qemuAgent is qemu-guest-agent, to which libvirt carries commands.
type qemuAgent struct {
	p  *Provider
	id string // of the instance
	// patience is how long it may take for one answer; agentPatience where it is 0.
	patience time.Duration
}

var _ guestAgent = qemuAgent{}

// agent returns the agent of an instance.
func (i *instance) agent() guestAgent { return qemuAgent{p: i.p, id: i.id} }

// agentPatience is how long an agent may take for one answer. Nothing that it is
// asked for takes long, but that it may run on an emulated processor.
const agentPatience = 20 * time.Second

// mostCommand bounds what a command carries: with one of 260 KiB the agent of QEMU
// 7.2 answers no more.
const mostCommand = 64 << 10

// ask gives the agent a command and returns its answer, which is the guest's and
// may be anything.
func (a qemuAgent) ask(ctx context.Context, command string, arguments any) (string, error) {
	ctx, done, err := a.p.begin(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	text, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return "", err
	}
	release, err := a.p.agents.take(ctx, a.id)
	if err != nil {
		return "", err
	}
	begun := make(chan struct{})
	answer, err := onDomain(ctx, a.p, a.id, func(d *lv.Domain) (string, error) {
		close(begun)
		defer release()
		return sendToAgent(ctx, d, string(text), cmp.Or(a.patience, agentPatience))
	})
	select {
	case <-begun:
	default:
		release()
	}
	switch {
	case isNotFound(err):
		return "", errNotFound()
	case err != nil:
		return "", refused(err)
	}
	return answer, nil
}

// connecting is how long an agent that listens may take to be connected.
const connecting = 5 * time.Second

// sendToAgent gives a domain's agent a command. Libvirt says that an agent listens a
// moment before it is connected with it.
func sendToAgent(ctx context.Context, d *lv.Domain, command string, patience time.Duration) (string, error) {
	began := time.Now()
	for {
		answer, err := d.QemuAgentCommand(command, lv.DomainQemuAgentCommandTimeout(patience/time.Second), 0)
		if !unconnected(err) || time.Since(began) > connecting {
			return answer, err
		}
		text, descErr := d.GetXMLDesc(0)
		var live libvirtxml.Domain
		if descErr != nil || live.Unmarshal(text) != nil || !agentThere(&live) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// askFor gives the agent a command and reads what it answers.
func askFor[T any](ctx context.Context, a qemuAgent, command string, arguments any) (T, error) {
	text, err := a.ask(ctx, command, arguments)
	if err != nil {
		var none T
		return none, err
	}
	return parseReply[T](text)
}
