package containerd

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/dialing"
	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

var _ compute.Dialer = (*instance)(nil)

// Dial implements compute.Dialer: it connects to loopback, as the instance's own programs
// would, whatever network it is on. What listens on another address alone is not reached.
func (i *instance) Dial(ctx context.Context, protocol network.Protocol, port uint16) (net.Conn, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return nil, i.fail("dial", err)
	}
	defer done()
	conn, err := i.dial(ctx, protocol, port)
	if err != nil {
		return nil, i.fail("dial", err)
	}
	return conn, nil
}

// loopback are the addresses that are tried, one after the other.
var loopback = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

func (i *instance) dial(ctx context.Context, protocol network.Protocol, port uint16) (net.Conn, error) {
	protocol, err := dialing.Check(protocol, port)
	if err != nil {
		return nil, err
	}
	k, err := i.load(ctx)
	if err != nil {
		return nil, err
	}
	if k.task, err = i.p.loadTask(ctx, i.id); err != nil {
		return nil, err
	}
	if _, err := compute.CheckTransition(stateOf(k.task), compute.OpDial); err != nil {
		return nil, err
	}
	main := i.p.mainProcess(ctx, i.id)
	namespace, run, err := networkOfProcess(int(k.task.Pid), main.is)
	switch {
	case main.err != nil:
		return nil, main.err
	case errors.Is(err, fs.ErrNotExist):
		return nil, resource.Errorf(errdefs.ErrUnavailable, "the run has ended")
	case err != nil:
		return nil, err
	}
	defer namespace.Close()
	var failed []error
	for _, a := range loopback {
		conn, err := netns.Dial(ctx, namespace, string(protocol), netip.AddrPortFrom(a, port))
		if err == nil {
			return dialing.Lasting(conn, run), nil
		}
		failed = append(failed, err)
	}
	_ = run.Close()
	if done := ended(ctx); done != nil {
		return nil, done
	}
	return nil, resource.Errorf(errdefs.ErrUnavailable, "%w", errors.Join(failed...))
}

// mainProcess is who looks whether a process is the main one of a run that is under way.
type mainProcess struct {
	is func(pid int) bool
	// err is why that could not be told.
	err error
}

func (p *Provider) mainProcess(ctx context.Context, id string) *mainProcess {
	m := new(mainProcess)
	m.is = func(pid int) bool {
		now, err := p.loadTask(ctx, id)
		m.err = err
		return err == nil && now != nil && stateOf(now).Active() && int(now.Pid) == pid
	}
	return m
}
