package providertest

import (
	"fmt"
	"net"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// rateCases measure how long it takes to move some bytes: a rate that is honoured
// makes it long.
func rateCases() []testCase {
	disk := has(compute.FeatureExec)
	lan := all(disk, has(compute.FeatureLogs), hasNetworks(network.FeatureNetworks), fields("networks[].network"))
	return []testCase{
		{"What is written to the disk is no faster than the rate", all(disk, fields("resources.diskWrite")), rateDiskWrite},
		{"What is read from the disk is no faster than the rate", all(disk, fields("resources.diskRead")), rateDiskRead},
		{"What is sent is no faster than the rate", all(lan, fields("resources.netTransmit")), rateTransmit},
		{"What is received is no faster than the rate", all(lan, fields("resources.netReceive")), rateReceive},
	}
}

// What is moved is what the rate lets through in a second, of which a half may be
// a burst.
const (
	rateLimit = 256 * resource.KiB
	rateLeast = time.Second / 2
)

// slowly requires a program that moves as much to take its time.
func (e *env) slowly(inst compute.Instance, program ...string) {
	e.Helper()
	begin := time.Now()
	e.output(inst, program...)
	require.GreaterOrEqual(e, time.Since(begin), rateLeast, "it is faster than %s a second", resource.FormatSize(rateLimit))
}

// rated makes a running instance with limits, on a network where that is named.
func (e *env) rated(resources compute.Resources, networks ...compute.NetworkAttachment) compute.Instance {
	e.Helper()
	spec := e.spec("web", "sleep", "1h")
	spec.Resources, spec.Networks = resources, networks
	inst := e.create(spec)
	e.start(inst)
	return inst
}

func rateDiskWrite(e *env) {
	inst := e.rated(compute.Resources{DiskWrite: rateLimit})
	e.slowly(inst, "fill", "/filled", fmt.Sprint(rateLimit))
}

func rateDiskRead(e *env) {
	inst := e.rated(compute.Resources{DiskRead: rateLimit})
	e.output(inst, "fill", "/filled", fmt.Sprint(rateLimit))
	e.slowly(inst, "drain", "/filled")
}

// echoed requires an exchange of as much each way with another instance to take its
// time.
func (e *env) echoed(resources compute.Resources) {
	e.Helper()
	e.network(network.Spec{Name: "lan"})
	_, address := e.server("server", "lan")
	client := e.rated(resources, compute.NetworkAttachment{Network: "lan"})
	e.slowly(client, "send", net.JoinHostPort(address, "80"), fmt.Sprint(rateLimit))
}

func rateTransmit(e *env) { e.echoed(compute.Resources{NetTransmit: rateLimit}) }
func rateReceive(e *env)  { e.echoed(compute.Resources{NetReceive: rateLimit}) }
