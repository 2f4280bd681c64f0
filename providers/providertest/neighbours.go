package providertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
)

// neighbourhood is two instances on a network, and a stranger on another, all of which
// listen and answer Exec. The client has an endpoint that was reserved, where there are
// such.
type neighbourhood struct {
	p                        univirt.Provider
	namespace                string
	lan                      network.Network
	server, client, stranger compute.Instance
}

// The names by which instances of a neighbourhood are found beside their own.
const (
	serverAlias = "service"
	clientName  = "host"
	clientAlias = "alias"
)

// by is the neighbourhood as another provider value sees it.
func (n neighbourhood) by(p univirt.Provider) neighbourhood {
	n.p, n.lan = p, p.Networks().Handle(n.lan.ID())
	for _, inst := range []*compute.Instance{&n.server, &n.client, &n.stranger} {
		*inst = p.Instances().Handle((*inst).ID())
	}
	return n
}

// neighbours returns a neighbourhood of the case's namespace, or the one that cases
// share as they do the instance of reachable.
func (e *env) neighbours() neighbourhood {
	e.Helper()
	return e.neighboursIn(func() univirt.Provider { return e.p })
}

// neighboursIn is neighbours in the namespace of another provider value.
func (e *env) neighboursIn(home func() univirt.Provider) neighbourhood {
	e.Helper()
	if e.s.h.Shared {
		n, err := e.s.neighbours()
		if left, ok := err.(leftOut); ok {
			panic(left)
		}
		require.NoError(e, err, "make the instances that cases share")
		return n.by(e.open(OpenOptions{Namespace: n.namespace}))
	}
	p := home()
	var n neighbourhood
	err := e.returns("what makes neighbours", func() (err error) {
		n, err = e.settle(e.ctx, p)
		return err
	})
	require.NoError(e, err, "make instances on networks")
	return n
}

// neighbourOr returns one of the neighbours that cases share, or else what the case
// makes.
func (e *env) neighbourOr(own func() compute.Instance) compute.Instance {
	e.Helper()
	if e.s.h.Shared && e.networked() {
		return e.neighbours().server
	}
	return own()
}

// shareNeighbours makes a neighbourhood that cases share, in a namespace of its own,
// when the first asks for it.
func (s *suite) shareNeighbours() func() (neighbourhood, error) {
	return sync.OnceValues(func() (n neighbourhood, err error) {
		// Machines that boot at once take longer.
		ctx, cancel := context.WithTimeout(context.Background(), 2*s.h.Patience)
		defer cancel()
		unlabelled(func() {
			var l *lane
			if l, err = s.newLane(ctx); err != nil {
				return
			}
			s.lanes.add(l)
			err = caught(func() (err error) {
				n, err = (&env{s: s, traits: traits{fleeting: true}}).settle(ctx, l.janitor)
				return err
			})
			n.namespace = l.namespace
		})
		return n, err
	})
}

// settle makes a neighbourhood, and returns when its instances can be reached.
func (e *env) settle(ctx context.Context, p univirt.Provider) (n neighbourhood, err error) {
	n.p = p
	if n.lan, err = p.Networks().Create(ctx, network.Spec{Name: "lan"}); err != nil {
		return n, err
	}
	if _, err = p.Networks().Create(ctx, network.Spec{Name: "away"}); err != nil {
		return n, err
	}
	server, client := compute.NetworkAttachment{Network: "lan"}, compute.NetworkAttachment{Network: "lan"}
	if e.aliased() {
		server.Aliases = []string{serverAlias}
	}
	if e.missing(fields("networks[].endpoint")[0]) == "" {
		endpoint, err := n.lan.Reserve(ctx, network.EndpointSpec{Name: clientName, Aliases: []string{clientAlias}})
		if err != nil {
			return n, err
		}
		client = compute.NetworkAttachment{Endpoint: endpoint.ID()}
	}
	all := []struct {
		inst *compute.Instance
		name string
		on   compute.NetworkAttachment
	}{{&n.server, "server", server}, {&n.client, "client", client}, {&n.stranger, "stranger", compute.NetworkAttachment{Network: "away"}}}
	for _, i := range all {
		spec := e.echoing(i.name)
		spec.Networks = []compute.NetworkAttachment{i.on}
		if *i.inst, err = p.Instances().Create(ctx, spec); err != nil {
			return n, err
		}
		if err = (*i.inst).Start(ctx, compute.StartOptions{}); err != nil {
			return n, err
		}
	}
	for _, i := range all {
		if err = listens(ctx, *i.inst); err != nil {
			return n, err
		}
		info, err := compute.WaitFor(ctx, *i.inst, compute.LevelAddress)
		if err != nil {
			return n, err
		}
		if !info.Address().IsValid() {
			return n, fmt.Errorf("%s has no address when it was waited for", i.name)
		}
	}
	return n, nil
}

// aliased reports whether instances have further names on their networks.
func (e *env) aliased() bool { return e.missing(fields("networks[].aliases")[0]) == "" }

// listens waits until the program listen of the run has said where.
func listens(ctx context.Context, inst compute.Instance) error {
	for line, err := range compute.Logs(ctx, inst, compute.LogOptions{Follow: true}) {
		// A machine says more than its program does.
		if err != nil || strings.HasPrefix(string(line.Text), "listening ") {
			return err
		}
	}
	return errors.New("the output ended before the program listened")
}

// addressOn returns the address of an instance on its only network.
func (e *env) addressOn(inst compute.Instance, net string) string {
	e.Helper()
	info := e.info(inst)
	require.NotEmpty(e, info.Endpoints)
	require.Equal(e, net, info.Endpoints[0].Network.Name)
	require.True(e, info.Address().IsValid(), "the instance's address")
	return info.Address().String()
}

// talks sends a line from an instance to an address, and reports whether it
// comes back.
func (e *env) talks(from compute.Instance, address string) bool {
	e.Helper()
	r := e.exec(from, "dial", address, "hello")
	return r.exit.Code == 0 && r.stdout == "hello\n"
}

// reaches requires what listens at a host to answer to another instance. On a busy
// machine a guest may take longer than its program has patience.
func (e *env) reaches(from compute.Instance, host string) {
	e.Helper()
	e.eventually(host+" answers", func() bool { return e.answers(from, host) })
}

// answers reports whether what listens at a host does so to another instance.
func (e *env) answers(from compute.Instance, host string) bool {
	e.Helper()
	return e.talks(from, net.JoinHostPort(host, fmt.Sprint(dialPort)))
}
