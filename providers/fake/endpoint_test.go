package fake_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

func createNetwork(t *testing.T, p *fake.Provider, spec network.Spec) network.Network {
	t.Helper()
	n, err := p.Networks().Create(t.Context(), spec)
	require.NoError(t, err)
	return n
}

func subnets(cidrs ...string) []network.Subnet {
	var out []network.Subnet
	for _, c := range cidrs {
		out = append(out, network.Subnet{CIDR: netip.MustParsePrefix(c)})
	}
	return out
}

func TestNetworkCreate(t *testing.T) {
	p := fake.Test(t, fake.Options{Capacity: fake.Capacity{Networks: 3}})
	ctx := t.Context()
	createNetwork(t, p, network.Spec{Name: "front", Subnets: subnets("10.1.0.0/24", "fd00:1::/64")})
	gateway := subnets("10.9.0.0/24")
	gateway[0].Gateway = netip.MustParseAddr("10.9.0.255")
	for name, c := range map[string]struct {
		spec  network.Spec
		kind  error
		field string
	}{
		"a name that exists":        {network.Spec{Name: "front"}, errdefs.ErrAlreadyExists, "name"},
		"a subnet that overlaps":    {network.Spec{Name: "x", Subnets: subnets("10.1.0.128/25")}, errdefs.ErrAlreadyExists, "subnets"},
		"a gateway that is no host": {network.Spec{Name: "x", Subnets: gateway}, errdefs.ErrInvalidArgument, "subnets[0].gateway"},
		"an interface of the host":  {network.Spec{Name: "x", External: network.Bridged, Bridge: "br0"}, errors.ErrUnsupported, "bridge"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.Networks().Create(ctx, c.spec)
			failsAs(t, err, c.kind, c.field)
		})
	}
	var chosen []netip.Prefix
	for _, name := range []string{"a", "b"} {
		info, err := createNetwork(t, p, network.Spec{Name: name}).Info(ctx)
		require.NoError(t, err)
		require.Len(t, info.Subnets, 1)
		chosen = append(chosen, info.Subnets[0].CIDR)
		assert.Equal(t, name, info.Domain)
		assert.True(t, info.Subnets[0].CIDR.Contains(info.Subnets[0].Gateway))
	}
	assert.NotEqual(t, chosen[0], chosen[1])
	_, err := p.Networks().Create(ctx, network.Spec{Name: "more"})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	_, err = network.Ensure(ctx, p.Networks(), network.Spec{Name: "a", Labels: resource.Labels{"x": "1"}})
	require.NoError(t, err)

	// The same names give the same networks, in any order of creation.
	other := fake.Test(t, fake.Options{})
	for k, name := range []string{"b", "a"} {
		info, err := createNetwork(t, other, network.Spec{Name: name}).Info(ctx)
		require.NoError(t, err)
		assert.Equal(t, chosen[1-k], info.Subnets[0].CIDR)
	}
}

func TestNetworkEndpoints(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	ctx := t.Context()
	n := createNetwork(t, p, network.Spec{Name: "lan", Subnets: subnets("10.1.0.0/29", "fd00:1::/64")})
	mac := network.HardwareAddr{2, 0, 0, 0, 0, 7}
	fixed := network.EndpointSpec{Name: "fixed", MAC: mac, Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.3")}}
	e, err := n.Reserve(ctx, fixed)
	require.NoError(t, err)
	info, err := e.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, mac, info.MAC)
	require.Len(t, info.Addresses, 2)
	assert.Equal(t, netip.MustParsePrefix("10.1.0.3/29"), info.Addresses[0])
	assert.True(t, info.Addresses[1].Addr().Is6())
	assert.Len(t, info.Gateways, 2)
	for name, c := range map[string]struct {
		spec  network.EndpointSpec
		kind  error
		field string
	}{
		"an address that is taken": {network.EndpointSpec{Addresses: fixed.Addresses}, errdefs.ErrAlreadyExists, "addresses[0]"},
		"the gateway's address":    {network.EndpointSpec{Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.1")}}, errdefs.ErrAlreadyExists, "addresses[0]"},
		"an address of nobody":     {network.EndpointSpec{Addresses: []netip.Addr{netip.MustParseAddr("10.2.0.1")}}, errdefs.ErrInvalidArgument, "addresses[0]"},
		"the broadcast address":    {network.EndpointSpec{Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.7")}}, errdefs.ErrInvalidArgument, "addresses[0]"},
		"two of one subnet": {network.EndpointSpec{Addresses: []netip.Addr{
			netip.MustParseAddr("10.1.0.4"), netip.MustParseAddr("10.1.0.5")}}, errdefs.ErrInvalidArgument, "addresses[1]"},
		"a MAC that is taken": {network.EndpointSpec{MAC: mac}, errdefs.ErrAlreadyExists, "mac"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := n.Reserve(ctx, c.spec)
			failsAs(t, err, c.kind, c.field)
		})
	}
	// 10.1.0.1 is the gateway: five are left beside it, one of which is taken.
	seen := map[netip.Addr]bool{netip.MustParseAddr("10.1.0.1"): true, netip.MustParseAddr("10.1.0.3"): true}
	for k := range 4 {
		e, err := n.Reserve(ctx, network.EndpointSpec{Name: fmt.Sprint("e", k)})
		require.NoError(t, err)
		info, err := e.Info(ctx)
		require.NoError(t, err)
		assert.False(t, seen[info.Addresses[0].Addr()], "twice: %s", info.Addresses[0])
		seen[info.Addresses[0].Addr()] = true
	}
	_, err = n.Reserve(ctx, network.EndpointSpec{})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	require.ErrorIs(t, n.Delete(ctx, network.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	require.NoError(t, e.Release(ctx))
	require.ErrorIs(t, e.Release(ctx), errdefs.ErrNotFound)
	_, err = n.Reserve(ctx, fixed)
	require.NoError(t, err)
	all, err := resource.Collect(n.Endpoints(ctx, network.EndpointFilter{Names: []string{"fixed"}}))
	require.NoError(t, err)
	assert.Len(t, all, 1)
}

func TestNetworkCapacityOfAddresses(t *testing.T) {
	p := fake.Test(t, fake.Options{Capacity: fake.Capacity{Addresses: 2}})
	n := createNetwork(t, p, network.Spec{Name: "lan"})
	for range 2 {
		_, err := n.Reserve(t.Context(), network.EndpointSpec{})
		require.NoError(t, err)
	}
	_, err := n.Reserve(t.Context(), network.EndpointSpec{})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
}

// linePrograms are a server that answers each line, and a client that asks once.
var linePrograms = map[string]fake.Program{
	"server": func(ctx context.Context, p *fake.Process) int {
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
			go func() {
				defer c.Close()
				line, _ := bufio.NewReader(c).ReadString('\n')
				fmt.Fprintf(c, "%s heard %s", p.Hostname(), line)
			}()
		}
	},
	"client": func(ctx context.Context, p *fake.Process) int {
		c, err := p.Dial(ctx, "tcp", p.Args[1])
		if err != nil {
			fmt.Fprintln(p.Stderr, err)
			return 1
		}
		defer c.Close()
		fmt.Fprintln(c, "hello")
		_, err = io.Copy(p.Stdout, c)
		if err != nil {
			return 2
		}
		return 0
	},
	"resolve": func(ctx context.Context, p *fake.Process) int {
		found, err := p.LookupHost(ctx, p.Args[1])
		if err != nil {
			return 1
		}
		for _, a := range found {
			fmt.Fprintln(p.Stdout, a)
		}
		return 0
	},
}

// placed makes an instance on networks, and starts it.
func placed(t *testing.T, p *fake.Provider, name string, command []string, networks ...compute.NetworkAttachment) compute.Instance {
	t.Helper()
	inst, err := p.Instances().Create(t.Context(), compute.Spec{
		Name: name, Image: "alpine", Process: compute.Process{Command: command}, Networks: networks,
	})
	require.NoError(t, err)
	require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
	if len(command) > 0 && command[0] == "server" {
		for line, err := range compute.Logs(t.Context(), inst, compute.LogOptions{Follow: true}) {
			require.NoError(t, err)
			require.Equal(t, "ready", string(line.Text))
			break
		}
	}
	return inst
}

func query(t *testing.T, inst compute.Instance, command ...string) (string, error) {
	t.Helper()
	out, err := compute.Output(t.Context(), inst, command...)
	return strings.TrimSpace(string(out)), err
}

func TestInstancesTalk(t *testing.T) {
	p := withPrograms(t, linePrograms)
	ctx := t.Context()
	lan := createNetwork(t, p, network.Spec{Name: "lan", Domain: "lan.test", Subnets: subnets("10.1.0.0/24", "fd00:1::/64")})
	createNetwork(t, p, network.Spec{Name: "other"})
	web := placed(t, p, "web", []string{"server"}, compute.NetworkAttachment{Network: "lan", Aliases: []string{"www"}})
	twin := placed(t, p, "twin", []string{"server"}, compute.NetworkAttachment{Network: "lan", Aliases: []string{"www"}})
	near := placed(t, p, "near", []string{"sleep", "1h"}, compute.NetworkAttachment{Network: "lan"})
	far := placed(t, p, "far", []string{"sleep", "1h"}, compute.NetworkAttachment{Network: "other"})
	for _, name := range []string{"web:80", "WEB.lan.test.:80"} {
		text, err := query(t, near, "client", name)
		require.NoError(t, err)
		assert.Equal(t, "web heard hello", text)
	}
	info, err := web.Info(ctx)
	require.NoError(t, err)
	addresses := info.Endpoints[0].Addresses
	for _, a := range addresses {
		text, err := query(t, near, "client", net.JoinHostPort(a.Addr().String(), "80"))
		require.NoError(t, err)
		assert.Equal(t, "web heard hello", text)
		_, err = query(t, far, "client", net.JoinHostPort(a.Addr().String(), "80"))
		assert.ErrorContains(t, err, syscall.EHOSTUNREACH.Error(), "networks are isolated")
	}
	_, err = query(t, far, "client", "web:80")
	assert.ErrorContains(t, err, "no such host")
	_, err = query(t, near, "client", "web:81")
	assert.ErrorContains(t, err, syscall.ECONNREFUSED.Error())

	// Both share an alias.
	text, err := query(t, near, "resolve", "www")
	require.NoError(t, err)
	assert.Len(t, strings.Fields(text), 4)

	for stats, err := range p.Instances().Stats(ctx, compute.Filter{Names: []string{"web"}}) {
		require.NoError(t, err)
		require.Len(t, stats.Network, 1)
		assert.Equal(t, int64(4*len("hello\n")), stats.Network[0].ReceiveBytes)
		assert.Equal(t, int64(4*len("web heard hello\n")), stats.Network[0].TransmitBytes)
	}

	// The address lasts from Create to Delete.
	require.NoError(t, web.Stop(ctx, compute.StopOptions{}))
	_, err = query(t, near, "client", addresses[0].Addr().String()+":80")
	require.Error(t, err)
	require.NoError(t, web.Start(ctx, compute.StartOptions{}))
	info, err = web.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, addresses, info.Endpoints[0].Addresses)
	require.ErrorIs(t, lan.Delete(ctx, network.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	for _, inst := range []compute.Instance{web, twin, near, far} {
		require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
	}
	require.NoError(t, lan.Delete(ctx, network.DeleteOptions{}))
}

func TestNamesOfInstances(t *testing.T) {
	p := withPrograms(t, linePrograms)
	extra := netip.MustParseAddr("192.0.2.1")
	createNetwork(t, p, network.Spec{Name: "lan", DNS: network.DNS{Hosts: map[string][]netip.Addr{"printer": {extra}}}})
	createNetwork(t, p, network.Spec{Name: "mute", DNS: network.DNS{Disabled: true}})
	placed(t, p, "db", nil, compute.NetworkAttachment{Network: "lan"}, compute.NetworkAttachment{Network: "mute"})
	inst, err := p.Instances().Create(t.Context(), compute.Spec{
		Name: "app", Image: "alpine", Networks: []compute.NetworkAttachment{{Network: "lan"}},
		DNS: compute.DNS{Search: []string{"lan"}, Hosts: map[string]netip.Addr{"gate": netip.MustParseAddr("192.0.2.2")}},
	})
	require.NoError(t, err)
	require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
	deaf := placed(t, p, "deaf", nil, compute.NetworkAttachment{Network: "mute"})
	for name, count := range map[string]int{"db": 1, "db.lan": 1, "app": 1, "localhost": 1, "gate": 1, "printer": 1, "none": 0, "db.mute": 0} {
		text, err := query(t, inst, "resolve", name)
		assert.Equal(t, count == 0, err != nil, "%s: %v", name, err)
		assert.Len(t, strings.Fields(text), count, name)
	}
	_, err = query(t, deaf, "resolve", "db")
	assert.Error(t, err)
}

func TestPublishedPortsAreReached(t *testing.T) {
	p := withPrograms(t, linePrograms)
	ctx := t.Context()
	createNetwork(t, p, network.Spec{Name: "lan"})
	create := func(name string, ports ...network.Port) compute.Instance {
		inst, err := p.Instances().Create(ctx, compute.Spec{
			Name: name, Image: "alpine", Process: compute.Process{Command: []string{"server"}},
			Networks: []compute.NetworkAttachment{{Network: "lan"}}, Ports: ports,
		})
		require.NoError(t, err)
		return inst
	}
	a := create("a", network.Port{Instance: 80, Publish: true, Host: 8080}, network.Port{Name: "http", Instance: 80, Publish: true})
	b := create("b", network.Port{Instance: 80, Publish: true, Host: 8080, HostIP: netip.MustParseAddr("0.0.0.0")})
	require.NoError(t, a.Start(ctx, compute.StartOptions{}))
	failsAs(t, b.Start(ctx, compute.StartOptions{}), errdefs.ErrAlreadyExists, "ports[0].host")
	info, err := a.Info(ctx)
	require.NoError(t, err)
	require.Len(t, info.Ports, 2)
	assert.NotZero(t, info.Ports[1].Host)
	for line, err := range compute.Logs(ctx, a, compute.LogOptions{Follow: true}) {
		require.NoError(t, err)
		require.Equal(t, "ready", string(line.Text))
		break
	}
	for _, port := range info.Ports {
		c, err := p.Backend().Dial(ctx, "tcp", fmt.Sprintf("localhost:%d", port.Host))
		require.NoError(t, err)
		fmt.Fprintln(c, "hi")
		text, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, "a heard hi\n", string(text))
		require.NoError(t, c.Close())
	}
	require.NoError(t, a.Stop(ctx, compute.StopOptions{Force: true}))
	_, err = p.Backend().Dial(ctx, "tcp", "localhost:8080")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, b.Start(ctx, compute.StartOptions{}), "the port is released when the run is gone")
}

func TestWhatListensNowhereSaysWhatIsMissing(t *testing.T) {
	p := withPrograms(t, linePrograms)
	ctx := t.Context()
	createNetwork(t, p, network.Spec{Name: "lan"})
	published := []network.Port{{Instance: 80, Publish: true, Host: 8080}}
	_, err := p.Backend().Dial(ctx, "tcp", "localhost:8080")
	assert.ErrorContains(t, err, "no running instance has published the port")
	for name, c := range map[string]struct {
		command []string
		want    string
	}{
		"an idle one": {nil, "the main process is idle, as Options.Programs has no program for its command"},
		"a deaf one":  {[]string{"sleep", "1h"}, "no program that runs in the instance has called Process.Listen for it"},
	} {
		inst, err := p.Instances().Create(ctx, compute.Spec{
			Name: "web", Image: "app", Process: compute.Process{Command: c.command},
			Networks: []compute.NetworkAttachment{{Network: "lan"}}, Ports: published,
		})
		require.NoError(t, err)
		require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
		_, err = compute.Dial(ctx, inst, "80")
		failsAs(t, err, errdefs.ErrUnavailable, "")
		assert.ErrorContains(t, err, "nothing listens on port 80: "+c.want, name)
		_, err = p.Backend().Dial(ctx, "tcp", "localhost:8080")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.ErrorContains(t, err, `nothing listens on port 80 of instance "web": `+c.want, name)
		require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
	}
}

func TestAttachNetworkWhileRunning(t *testing.T) {
	p := withPrograms(t, linePrograms)
	ctx := t.Context()
	n := createNetwork(t, p, network.Spec{Name: "lan"})
	placed(t, p, "web", []string{"server"}, compute.NetworkAttachment{Network: "lan"})
	inst := placed(t, p, "app", nil)
	_, err := query(t, inst, "client", "web:80")
	require.Error(t, err)
	reserved, err := n.Reserve(ctx, network.EndpointSpec{Name: "reserved"})
	require.NoError(t, err)
	require.NoError(t, compute.AttachNetwork(ctx, inst, compute.NetworkAttachment{Network: "lan"}))
	require.NoError(t, compute.AttachNetwork(ctx, inst, compute.NetworkAttachment{Endpoint: reserved.ID()}))
	text, err := query(t, inst, "client", "web:80")
	require.NoError(t, err)
	assert.Equal(t, "web heard hello", text)
	require.ErrorIs(t, reserved.Release(ctx), errdefs.ErrFailedPrecondition)
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	require.Len(t, info.Endpoints, 2)
	for _, e := range info.Endpoints {
		assert.True(t, e.PluggedIn)
		require.NoError(t, compute.DetachNetwork(ctx, inst, e.Ref.ID))
		require.ErrorIs(t, compute.DetachNetwork(ctx, inst, e.Ref.ID), errdefs.ErrNotFound)
	}
	require.NoError(t, reserved.Release(ctx))
	_, err = query(t, inst, "client", "web:80")
	require.Error(t, err)
}

func TestDetachNetworkCutsConnections(t *testing.T) {
	p := withPrograms(t, map[string]fake.Program{
		"server": linePrograms["server"],
		"hold": func(ctx context.Context, p *fake.Process) int {
			c, err := p.Dial(ctx, "tcp", "web:80")
			if err != nil {
				return 1
			}
			fmt.Fprintln(p.Stdout, "ready")
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, net.ErrClosed) {
				return 7
			}
			return 2
		},
	})
	ctx := t.Context()
	createNetwork(t, p, network.Spec{Name: "lan"})
	placed(t, p, "web", []string{"server"}, compute.NetworkAttachment{Network: "lan"})
	inst := placed(t, p, "app", []string{"hold"}, compute.NetworkAttachment{Network: "lan"})
	for line, err := range compute.Logs(ctx, inst, compute.LogOptions{Follow: true}) {
		require.NoError(t, err)
		require.Equal(t, "ready", string(line.Text))
		break
	}
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	require.NoError(t, compute.DetachNetwork(ctx, inst, info.Endpoints[0].Ref.ID))
	exit, err := inst.Wait(ctx, compute.WaitOptions{})
	require.NoError(t, err)
	assert.Equal(t, 7, exit.Code)
}

func TestHTTPInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fake.New(fake.Options{Programs: map[string]fake.Program{
			"httpd": func(ctx context.Context, p *fake.Process) int {
				l, err := p.Listen("tcp", ":80")
				if err != nil {
					return 1
				}
				server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					_, _ = w.Write(body)
				})}
				defer context.AfterFunc(ctx, func() { _ = server.Close() })()
				_ = server.Serve(l)
				return 0
			},
		}})
		defer p.Close()
		inst, err := p.Instances().Create(t.Context(), compute.Spec{Name: "web", Image: "httpd"})
		require.NoError(t, err)
		_, err = compute.Dial(t.Context(), inst, "80")
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
		require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
		synctest.Wait()
		_, err = compute.Dial(t.Context(), inst, "81")
		require.ErrorIs(t, err, errdefs.ErrUnavailable)
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return compute.Dial(ctx, inst, "80")
		}}
		defer transport.CloseIdleConnections()
		client := http.Client{Transport: transport}
		body := strings.Repeat("x", 1<<20)
		response, err := client.Post("http://web/", "text/plain", strings.NewReader(body))
		require.NoError(t, err)
		defer response.Body.Close()
		got, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.True(t, slices.Equal([]byte(body), got))
	})
}

func Example_network() {
	ctx := context.Background()
	p := fake.New(fake.Options{Programs: map[string]fake.Program{
		"greeter": func(ctx context.Context, p *fake.Process) int {
			l, err := p.Listen("tcp", ":80")
			if err != nil {
				return 1
			}
			for {
				c, err := l.Accept()
				if err != nil {
					return 0
				}
				fmt.Fprintf(c, "this is %s\n", p.Hostname())
				c.Close()
			}
		},
		"visitor": func(ctx context.Context, p *fake.Process) int {
			for {
				// The greeter may not listen yet.
				if c, err := p.Dial(ctx, "tcp", "web:80"); err == nil {
					_, _ = io.Copy(p.Stdout, c)
					return 0
				} else if ctx.Err() != nil {
					return 1
				}
			}
		},
	}})
	defer p.Close()
	if _, err := p.Networks().Create(ctx, network.Spec{Name: "lan"}); err != nil {
		fmt.Println(err)
		return
	}
	lan := []compute.NetworkAttachment{{Network: "lan"}}
	web, err := p.Instances().Create(ctx, compute.Spec{Name: "web", Image: "greeter", Networks: lan})
	if err == nil {
		err = web.Start(ctx, compute.StartOptions{})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	var out strings.Builder
	_, err = compute.Run(ctx, p.Instances(), compute.Spec{Name: "app", Image: "visitor", Networks: lan}, compute.RunOptions{Stdout: &out})
	fmt.Print(out.String(), err, "\n")
	// Output:
	// this is web
	// <nil>
}
