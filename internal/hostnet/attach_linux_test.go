package hostnet

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func TestAttachTwice(t *testing.T) {
	w := newWorld(t)
	n := w.network(network.NAT)
	a, b := w.instance(n), w.instance(n)
	require.NoError(t, w.Attach(t.Context(), n.ID, a.ID, a.target()))
	talk(t, a, b)
	// Another namespace has it instead.
	first := a.namespace
	a.namespace = newNamespace(t)
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), a.namespace.Fd())
	require.NoError(t, w.Attach(t.Context(), n.ID, a.ID, Target{Path: path, Interface: "net0"}))
	_, err := handleIn(t, first).LinkByName("eth0")
	require.Error(t, err)
	talk(t, a, b)

	require.NoError(t, w.Detach(t.Context(), n.ID, a.ID))
	require.NoError(t, w.Detach(t.Context(), n.ID, a.ID))
	links, err := handleIn(t, a.namespace).LinkList()
	require.NoError(t, err)
	assert.Len(t, links, 1)
	_, err = w.Endpoint(t.Context(), n.ID, a.ID)
	require.NoError(t, err, "it stays reserved")
}

func TestAttachTwoNetworks(t *testing.T) {
	w := newWorld(t)
	i := w.instance(w.network(network.NAT))
	n := w.network(network.NAT)
	e, err := w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
	require.NoError(t, err)
	links := w.linksOf("uv")
	err = w.Attach(t.Context(), n.ID, e.ID, i.target())
	isFailure(t, err, errdefs.ErrAlreadyExists, "interface")
	second := Target{Namespace: i.namespace, Interface: "eth1"}
	err = w.Attach(t.Context(), n.ID, e.ID, second)
	isFailure(t, err, errdefs.ErrAlreadyExists, "namespace")
	assert.Equal(t, links, w.linksOf("uv"), "it is undone")
	second.NoRoutes = true
	require.NoError(t, w.Attach(t.Context(), n.ID, e.ID, second))
	for k, p := range e.Addresses {
		reaches(t, i.namespace, serve(t, w.namespace, n.Subnets[k].Gateway, 0), p.Addr())
	}
}

func TestAttachWhatIsNot(t *testing.T) {
	w := newWorld(t)
	n := w.network(network.Isolated)
	e, err := w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
	require.NoError(t, err)
	inside := newNamespace(t)
	for _, c := range []struct {
		name, network, endpoint string
		target                  Target
		kind                    error
	}{
		{"no network", resource.NewID(), e.ID, Target{Namespace: inside, Interface: "eth0"}, errdefs.ErrNotFound},
		{"no endpoint", n.ID, resource.NewID(), Target{Namespace: inside, Interface: "eth0"}, errdefs.ErrNotFound},
		{"a path", n.ID, "../record", Target{Namespace: inside, Interface: "eth0"}, errdefs.ErrNotFound},
		{"no name", n.ID, e.ID, Target{Namespace: inside}, errdefs.ErrInvalidArgument},
		{"a strange name", n.ID, e.ID, Target{Namespace: inside, Interface: "a/b"}, errdefs.ErrInvalidArgument},
		{"no namespace", n.ID, e.ID, Target{Path: "/absent", Interface: "eth0"}, errdefs.ErrFailedPrecondition},
		{"a file", n.ID, e.ID, Target{Path: "/etc/passwd", Interface: "eth0"}, errdefs.ErrFailedPrecondition},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorIs(t, w.Attach(t.Context(), c.network, c.endpoint, c.target), c.kind)
		})
	}
	assert.Len(t, w.linksOf("uv"), 1)
}

func TestDetachWhereTheNamespaceIsGone(t *testing.T) {
	w := newWorld(t)
	n := w.network(network.NAT)
	e, err := w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
	require.NoError(t, err)
	t.Run("an instance that ends", func(t *testing.T) {
		require.NoError(t, w.Attach(t.Context(), n.ID, e.ID, Target{Namespace: newNamespace(t), Interface: "eth0"}))
	})
	require.NoError(t, w.Detach(t.Context(), n.ID, e.ID))
	next := instance{e, newNamespace(t)}
	require.NoError(t, w.Attach(t.Context(), n.ID, e.ID, next.target()))
	talk(t, next, w.instance(n))
}

// TestLimits carries 256 KiB each way at 1 MiB a second.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	n := w.network(network.Isolated)
	const rate, size = 1 << 20, 256 << 10
	e, err := w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID(), Limits: Limits{Ingress: rate, Egress: rate}})
	require.NoError(t, err)
	slow := instance{e, newNamespace(t)}
	require.NoError(t, w.Attach(t.Context(), n.ID, e.ID, slow.target()))
	fast := w.instance(n)
	for name, way := range map[string][2]instance{"ingress": {fast, slow}, "egress": {slow, fast}} {
		t.Run(name, func(t *testing.T) {
			took := carry(t, way[0], way[1], size)
			// A burst goes at once.
			assert.Greater(t, took, 150*time.Millisecond)
			assert.Less(t, took, 2*time.Second)
		})
	}
}

// carry sends bytes from one instance to another and returns how long it took.
func carry(t *testing.T, from, to instance, size int) time.Duration {
	t.Helper()
	var l net.Listener
	require.NoError(t, netns.Do(to.namespace, func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(to.addresses()[0], 0)))
		return err
	}))
	defer l.Close()
	began := time.Now()
	c, err := netns.Dial(t.Context(), from.namespace, "tcp", l.Addr().(*net.TCPAddr).AddrPort())
	require.NoError(t, err)
	go func() {
		_, _ = c.Write(make([]byte, size))
		_ = c.Close()
	}()
	far, err := l.Accept()
	require.NoError(t, err)
	defer far.Close()
	got, err := io.Copy(io.Discard, far)
	require.NoError(t, err)
	assert.Equal(t, int64(size), got)
	return time.Since(began)
}

func BenchmarkAttach(b *testing.B) {
	w := newWorld(b)
	n, err := w.Create(b.Context(), NetworkSpec{ID: resource.NewID(), ChooseIPv4: true, ChooseIPv6: true, External: network.NAT})
	require.NoError(b, err)
	i := instance{namespace: newNamespace(b)}
	i.Endpoint, err = w.Reserve(b.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
	require.NoError(b, err)
	var attach, detach time.Duration
	for b.Loop() {
		began := time.Now()
		require.NoError(b, w.Attach(b.Context(), n.ID, i.ID, i.target()))
		attached := time.Now()
		require.NoError(b, w.Detach(b.Context(), n.ID, i.ID))
		attach, detach = attach+attached.Sub(began), detach+time.Since(attached)
	}
	b.ReportMetric(attach.Seconds()*1000/float64(b.N), "attach-ms")
	b.ReportMetric(detach.Seconds()*1000/float64(b.N), "detach-ms")
}

func BenchmarkReserve(b *testing.B) {
	w := newWorld(b)
	n, err := w.Create(b.Context(), NetworkSpec{ID: resource.NewID(), ChooseIPv4: true, ChooseIPv6: true})
	require.NoError(b, err)
	for b.Loop() {
		e, err := w.Reserve(b.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
		require.NoError(b, err)
		require.NoError(b, w.Release(b.Context(), n.ID, e.ID))
	}
}

func BenchmarkRepair(b *testing.B) {
	w := newWorld(b)
	for range 10 {
		_, err := w.Create(b.Context(), NetworkSpec{ID: resource.NewID(), ChooseIPv4: true, ChooseIPv6: true, External: network.NAT})
		require.NoError(b, err)
	}
	for b.Loop() {
		require.NoError(b, w.Repair(b.Context()))
	}
}
