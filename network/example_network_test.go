package network_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

var backend = network.Spec{
	Name:    "backend",
	Subnets: []network.Subnet{{CIDR: netip.MustParsePrefix("10.1.0.0/24")}},
}

func ExampleSpec_Validate() {
	spec := network.Spec{
		Name:    "backend",
		Subnets: []network.Subnet{{CIDR: netip.MustParsePrefix("10.1.0.1/24")}},
		MTU:     100,
	}
	for _, fault := range spec.Validate() {
		fmt.Println(fault)
	}
	// Output:
	// subnets[0].cidr: has host bits set; did you mean 10.1.0.0/24
	// mtu: must be from 576 to 65535, is 100
}

// The second call finds the network.
func ExampleEnsure() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	first, err := network.Ensure(ctx, p.Networks(), backend)
	if err != nil {
		log.Fatal(err)
	}
	second, err := network.Ensure(ctx, p.Networks(), backend)
	if err != nil {
		log.Fatal(err)
	}
	info, err := second.Info(ctx)
	fmt.Println(first.ID() == second.ID(), info.Subnets[0].CIDR, err)
	// Output: true 10.1.0.0/24 <nil>
}

// An endpoint is found by its ID alone, on whatever provider's network it is.
func ExampleFindEndpoint() {
	ctx := context.Background()
	p, other := fake.New(fake.Options{}), fake.New(fake.Options{Seed: 1})
	defer p.Close()
	defer other.Close()
	n, err := network.Ensure(ctx, other.Networks(), backend)
	if err != nil {
		log.Fatal(err)
	}
	endpoint, err := n.Reserve(ctx, network.EndpointSpec{Name: "printer"})
	if err != nil {
		log.Fatal(err)
	}
	info, err := network.FindEndpoint(ctx, endpoint.ID(), p.Networks(), other.Networks())
	fmt.Println(info.Ref.Name, "on", info.Network.Name, err)
	// Output: printer on backend <nil>
}

// An address is reserved before there is an instance, of whatever provider.
func ExampleNetwork_reserve() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	n, err := network.Ensure(ctx, p.Networks(), backend)
	if err != nil {
		log.Fatal(err)
	}
	endpoint, err := n.Reserve(ctx, network.EndpointSpec{
		Name:      "db",
		Aliases:   []string{"postgres"},
		Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.10")},
	})
	if err != nil {
		log.Fatal(err)
	}
	info, err := endpoint.Info(ctx)
	fmt.Println(info.Ref.Name, info.Addresses, info.Gateways, err)

	_, err = n.Reserve(ctx, network.EndpointSpec{Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.10")}})
	fmt.Println(err)
	fmt.Println(endpoint.Release(ctx))
	// Output:
	// db [10.1.0.10/24] [10.1.0.1] <nil>
	// reserve network "backend": addresses[0]: 10.1.0.10 is taken
	// <nil>
}

func ExampleOverlaps() {
	a := []network.Subnet{{CIDR: netip.MustParsePrefix("10.0.0.0/8")}}
	b := []network.Subnet{{CIDR: netip.MustParsePrefix("192.168.0.0/24")}, {CIDR: netip.MustParsePrefix("10.1.0.0/24")}}
	fmt.Println(network.Overlaps(a, b))
	// Output: 10.0.0.0/8 10.1.0.0/24 true
}

func ExampleAbsent() {
	networks := network.Absent("this provider has no networks")
	_, err := networks.Get(context.Background(), "backend")
	fmt.Println(err)
	// Output: get network "backend": networks is not supported: this provider has no networks
}

func ExampleFilter() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	for name, tier := range map[string]string{"front": "web", "back": "db"} {
		if _, err := network.Ensure(ctx, p.Networks(), network.Spec{Name: name, Labels: resource.Labels{"tier": tier}}); err != nil {
			log.Fatal(err)
		}
	}
	databases := network.Filter{Selector: resource.Select(resource.Equals("tier", "db"))}
	for info, err := range p.Networks().List(ctx, databases) {
		fmt.Println(info.Ref.Name, err)
	}
	// Output: back <nil>
}

func ExampleValidatePorts() {
	fmt.Println(network.ValidatePorts([]network.Port{
		{Name: "http", Instance: 80},
		{Name: "http", Instance: 8080},
	}).Err())
	// Output: [1].name: is that of [0] too
}

// The text keeps what a spec means, so that it can be stored and read later.
func ExampleEncode() {
	text, err := network.Encode(backend)
	fmt.Println(string(text), err)
	spec, err := network.Decode(text)
	fmt.Println(spec.Name, spec.Subnets[0].CIDR, err)
	// Output:
	// {"apiVersion":"univirt.io/v1alpha1","kind":"network","spec":{"name":"backend","subnets":[{"cidr":"10.1.0.0/24"}]}} <nil>
	// backend 10.1.0.0/24 <nil>
}

// What this release knows of networks and a provider has not.
func ExampleFeatures() {
	p := fake.New(fake.Options{})
	defer p.Close()
	about, err := p.Describe(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, feature := range network.Features() {
		if offered := about.Networks.Features; !offered.Has(feature) {
			fmt.Println(feature, "|", offered[feature].Reason)
		}
	}
	// Output: networks.bridged | the fake has no host interfaces
}

// What a form says beside its fields before anything is made: the empty text is
// good, and an empty hardware address leaves the choice to the network.
func ExampleCheckHostAddress() {
	for _, text := range []string{"10.1.0.5", "224.0.0.1", "0.0.0.0"} {
		fmt.Printf("%s %q\n", text, network.CheckHostAddress(netip.MustParseAddr(text)))
	}
	for _, mac := range []network.HardwareAddr{nil, {2, 0, 0, 0, 0, 1}, {1, 0, 0, 0, 0, 1}, {2, 0}} {
		fmt.Printf("%q %q\n", mac, network.CheckMAC(mac))
	}
	for _, name := range []string{"backend.example.test", "backend..test"} {
		fmt.Printf("%s %q\n", name, network.CheckDomain(name))
	}
	// Output:
	// 10.1.0.5 ""
	// 224.0.0.1 "must be a host's address without a zone"
	// 0.0.0.0 "must be a host's address without a zone"
	// "" ""
	// "02:00:00:00:00:01" ""
	// "01:00:00:00:00:01" "must not be a multicast address"
	// "02:00" "must have six bytes"
	// backend.example.test ""
	// backend..test "is no DNS name: a label must not be empty"
}
