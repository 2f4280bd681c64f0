package fake_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// echo answers what it is told on port 80 of all addresses.
func echo(ctx context.Context, p *fake.Process) int {
	l, err := p.Listen("tcp", ":80")
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return 1
	}
	fmt.Fprintln(p.Stdout, "ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return 0
		}
		go func() { _, _ = io.Copy(c, c) }()
	}
}

// ask sends a line to an address and prints the answer.
func ask(ctx context.Context, p *fake.Process) int {
	c, err := p.Dial(ctx, "tcp", p.Args[1])
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return 1
	}
	defer c.Close()
	fmt.Fprintf(c, "%s\n", p.Args[2])
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return 2
	}
	fmt.Fprint(p.Stdout, line)
	return 0
}

func talkers() fake.Options {
	return fake.Options{Programs: map[string]fake.Program{"echo-server": echo, "ask": ask}}
}

func lan(tb testing.TB, p *fake.Provider, spec network.Spec) network.Network {
	tb.Helper()
	n, err := p.Networks().Create(tb.Context(), spec)
	require.NoError(tb, err)
	return n
}

func on(networks ...string) func(*compute.Spec) {
	return func(s *compute.Spec) {
		for _, n := range networks {
			s.Networks = append(s.Networks, compute.NetworkAttachment{Network: n, Aliases: []string{"any"}})
		}
	}
}

func server(s *compute.Spec) { s.Process.Command = []string{"echo-server"} }

func TestInstancesOnOneNetworkTalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, talkers())
		lan(t, p, network.Spec{Name: "front", Domain: "front.test"})
		lan(t, p, network.Spec{Name: "back"})
		web := start(t, p, "web", server, on("front"))
		db := start(t, p, "db", server, on("back"))
		client := start(t, p, "client", on("front"))
		synctest.Wait()
		address := info(t, web).Address().String()
		for host, reached := range map[string]bool{
			"web": true, "web.front.test": true, "web.": true, "any": true, address: true,
			"db": false, info(t, db).Address().String(): false, "web.back": false, "nobody": false, "client": false,
		} {
			out, err := compute.Output(t.Context(), client, "ask", net.JoinHostPort(host, "80"), "hello")
			if reached {
				require.NoError(t, err, host)
				assert.Equal(t, "hello\n", string(out), host)
			} else {
				require.Error(t, err, host)
			}
		}
		_, err := compute.Output(t.Context(), client, "ask", "web:81", "hello")
		require.ErrorContains(t, err, "connection refused")
		stats, err := resource.Collect(p.Instances().Stats(t.Context(), compute.Filter{Names: []string{"client"}}))
		require.NoError(t, err)
		assert.Equal(t, int64(30), stats[0].Network[0].TransmitBytes, "five times six bytes")
		assert.Equal(t, int64(30), stats[0].Network[0].ReceiveBytes)

		// What does not run is not found, and finds its address again.
		require.NoError(t, web.Stop(t.Context(), compute.StopOptions{}))
		_, err = compute.Output(t.Context(), client, "ask", address+":80", "hello")
		require.Error(t, err)
		_, err = compute.Output(t.Context(), client, "ask", "web:80", "hello")
		require.ErrorContains(t, err, "no such host")
		require.NoError(t, web.Start(t.Context(), compute.StartOptions{}))
		assert.Equal(t, address, info(t, web).Address().String())
	})
}

func TestDialReachesAProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, talkers())
		inst := start(t, p, "web", server)
		synctest.Wait()
		c, err := compute.Dial(t.Context(), inst, "80")
		require.NoError(t, err)
		fmt.Fprintln(c, "hello")
		line, err := bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "hello\n", line)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Second)))
		_, err = c.Read(make([]byte, 1))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
		assert.Equal(t, "127.0.0.1:80", c.RemoteAddr().String())

		_, err = compute.Dial(t.Context(), inst, "81")
		require.ErrorIs(t, err, errdefs.ErrUnavailable)
		require.NoError(t, inst.Stop(t.Context(), compute.StopOptions{}))
		_ = c.SetReadDeadline(time.Time{})
		_, err = c.Read(make([]byte, 1))
		require.Error(t, err, "a connection ends with the run")
	})
}

func TestListenersOfOneInstance(t *testing.T) {
	p := fake.Test(t, fake.Options{Programs: map[string]fake.Program{"app": func(ctx context.Context, p *fake.Process) int {
		listen := func(address string) (net.Listener, error) { return p.Listen("tcp", address) }
		all, err := listen("0.0.0.0:80")
		assert.NoError(t, err)
		assert.Equal(t, "[::]:80", all.Addr().String())
		_, err = listen("127.0.0.1:80")
		assert.ErrorContains(t, err, "address already in use")
		some, err := listen(":0")
		assert.NoError(t, err)
		_, err = p.Dial(ctx, "tcp", fmt.Sprintf("localhost:%d", some.Addr().(*net.TCPAddr).Port))
		assert.NoError(t, err)
		assert.NoError(t, some.Close())
		_, err = some.Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
		for _, bad := range []string{"192.0.2.1:80", "no-such-host:80", "nonsense", ":99999"} {
			_, err = listen(bad)
			assert.Error(t, err, bad)
		}
		_, err = p.Listen("udp", ":80")
		assert.Error(t, err)
		found, err := p.LookupHost(ctx, "db.example")
		assert.NoError(t, err)
		assert.Equal(t, []netip.Addr{netip.MustParseAddr("192.0.2.7")}, found)
		return 0
	}}})
	inst := start(t, p, "web", func(s *compute.Spec) {
		s.DNS.Hosts = map[string]netip.Addr{"db.example": netip.MustParseAddr("192.0.2.7")}
	})
	assert.Zero(t, exit(t, inst).Code)
}

func TestPublishedPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.Test(t, talkers())
		lan(t, p, network.Spec{Name: "lan"})
		published := func(host uint16, ip string) func(*compute.Spec) {
			return func(s *compute.Spec) {
				s.Ports = []network.Port{{Name: "admin", Instance: 81}, {Name: "http", Instance: 80, Publish: true, Host: host}}
				if ip != "" {
					s.Ports[1].HostIP = netip.MustParseAddr(ip)
				}
			}
		}
		one := start(t, p, "one", server, on("lan"), published(0, ""))
		ports := info(t, one).Ports
		require.Len(t, ports, 1)
		synctest.Wait()
		c, err := p.Backend().Dial(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Host))
		require.NoError(t, err)
		fmt.Fprintln(c, "x")
		line, err := bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "x\n", line)
		require.NoError(t, c.Close())

		two := create(t, p, "two", server, on("lan"), published(ports[0].Host, "0.0.0.0"))
		require.ErrorIs(t, two.Start(t.Context(), compute.StartOptions{}), errdefs.ErrAlreadyExists)
		elsewhere := start(t, p, "elsewhere", server, on("lan"), published(ports[0].Host, "192.0.2.1"))
		require.NoError(t, one.Stop(t.Context(), compute.StopOptions{}))
		require.NoError(t, elsewhere.Delete(t.Context(), compute.DeleteOptions{Force: true}))
		_, err = p.Backend().Dial(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Host))
		require.ErrorContains(t, err, "connection refused")
		require.NoError(t, two.Start(t.Context(), compute.StartOptions{}))
	})
}

func TestPublishedPortsAreToldApartByTheirAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := func(ctx context.Context, p *fake.Process) int {
			for _, port := range []string{"80", "81"} {
				l, err := p.Listen("tcp", ":"+port)
				if err != nil {
					return 1
				}
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						fmt.Fprint(c, port)
						c.Close()
					}
				}()
			}
			<-ctx.Done()
			return 0
		}
		for _, c := range []struct {
			ips [2]string
			// want is which port inside is reached at an address.
			want map[string]string
		}{
			{[2]string{"127.0.0.1", "192.0.2.1"}, map[string]string{"127.0.0.1": "80", "192.0.2.1": "81", "0.0.0.0": "80", "192.0.2.2": ""}},
			{[2]string{"192.0.2.1", "127.0.0.1"}, map[string]string{"127.0.0.1": "81", "192.0.2.1": "80", "localhost": "81", "::1": ""}},
			{[2]string{"0.0.0.0", "::"}, map[string]string{"127.0.0.1": "80", "192.0.2.1": "80", "::1": "81", "::": "81", "2001:db8::1": "81"}},
			{[2]string{"::", "0.0.0.0"}, map[string]string{"127.0.0.1": "81", "::1": "80"}},
		} {
			p := fake.Test(t, program(two))
			lan(t, p, network.Spec{Name: "lan"})
			start(t, p, "web", on("lan"), func(s *compute.Spec) {
				for n, ip := range c.ips {
					s.Ports = append(s.Ports, network.Port{Instance: uint16(80 + n), Publish: true, Host: 8080, HostIP: netip.MustParseAddr(ip)})
				}
			})
			synctest.Wait()
			for ip, want := range c.want {
				conn, err := p.Backend().Dial(t.Context(), "tcp", net.JoinHostPort(ip, "8080"))
				if want == "" {
					require.ErrorIs(t, err, syscall.ECONNREFUSED, "%s of %v", ip, c.ips)
					continue
				}
				require.NoError(t, err, "%s of %v", ip, c.ips)
				text, err := io.ReadAll(conn)
				require.NoError(t, err)
				assert.Equal(t, want, string(text), "%s of %v", ip, c.ips)
				require.NoError(t, conn.Close())
			}
		}
	})
}

func TestAddressPoolIsBounded(t *testing.T) {
	p := fake.Test(t, fake.Options{Capacity: fake.Capacity{Addresses: 2, Networks: 1}})
	n := lan(t, p, network.Spec{Name: "lan"})
	_, err := p.Networks().Create(t.Context(), network.Spec{Name: "other"})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	one := create(t, p, "one", on("lan"))
	create(t, p, "two", on("lan"))
	_, err = p.Instances().Create(t.Context(), compute.Spec{Name: "three", Image: "app", Networks: []compute.NetworkAttachment{{Network: "lan"}}})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	_, err = p.Instances().Get(t.Context(), "three")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	require.ErrorIs(t, n.Delete(t.Context(), network.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	require.NoError(t, one.Delete(t.Context(), compute.DeleteOptions{}))
	create(t, p, "three", on("lan"))

	p.Fail(fake.On(fake.OpReserve).PoolEmpty())
	_, err = n.Reserve(t.Context(), network.EndpointSpec{})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	assert.ErrorContains(t, err, "no address is left")
}

func TestAddressesAreTheSameWithTheSameSeed(t *testing.T) {
	dump := func(seed uint64) string {
		p := fake.Test(t, fake.Options{Seed: seed})
		lan(t, p, network.Spec{Name: "lan"})
		create(t, p, "web", on("lan"))
		return p.Dump()
	}
	assert.Equal(t, dump(1), dump(1))
	assert.NotEqual(t, dump(1), dump(2))
	assert.Contains(t, dump(1), "endpoint: lan 02:")
}

func TestNetworkEvents(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	opts := resource.WatchOptions{Kinds: []resource.Kind{resource.KindNetwork}}
	events := watching(t, p, opts, func(e resource.Event) bool {
		if e.Type == resource.EventSynced {
			n := lan(t, p, network.Spec{Name: "lan"})
			value := "x"
			assert.NoError(t, n.Update(t.Context(), network.Change{Labels: resource.LabelPatch{"a": &value}}))
			assert.NoError(t, n.Delete(t.Context(), network.DeleteOptions{}))
		}
		return e.Type == resource.EventDeleted
	})
	assert.Equal(t, []string{"synced", "added lan create", "changed lan update", "deleted lan"}, told(events))
}

func TestNetworkOfACrashedMakerIsLeftToSweep(t *testing.T) {
	b := fake.NewBackend(fake.Options{})
	defer b.Close()
	victim := fake.Test(t, fake.Options{Backend: b})
	victim.Fail(fake.On(fake.OpCreateNetwork).Crashing())
	_, err := victim.Networks().Create(t.Context(), network.Spec{Name: "lan"})
	require.ErrorIs(t, err, resource.ErrClosed)
	p := fake.Test(t, fake.Options{Backend: b})
	_, err = p.Networks().Create(t.Context(), network.Spec{Name: "lan"})
	require.ErrorIs(t, err, errdefs.ErrAlreadyExists)
	report, err := p.Sweep(t.Context(), univirt.SweepOptions{})
	require.NoError(t, err)
	assert.Len(t, report.Removed, 1)
	lan(t, p, network.Spec{Name: "lan"})
}
