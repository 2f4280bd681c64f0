package compute_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/storage"
)

func ExampleAttachVolume() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "db", Image: "postgres"})
	defer p.Close()
	if _, err := storage.Ensure(ctx, p.Volumes(), storage.Spec{Name: "data"}); err != nil {
		log.Fatal(err)
	}
	err := compute.AttachVolume(ctx, inst, compute.Mount{Type: compute.MountVolume, Source: "data", Path: "/data"})
	if err != nil {
		log.Fatal(err)
	}
	info, err := inst.Info(ctx)
	for _, mount := range info.Spec.Mounts {
		fmt.Println(mount.Source, "at", mount.Path, err)
	}
	fmt.Println(compute.DetachVolume(ctx, inst, "/data"))
	// Output:
	// data at /data <nil>
	// <nil>
}

func ExampleAttachNetwork() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "db", Image: "postgres"})
	defer p.Close()
	_, err := network.Ensure(ctx, p.Networks(), network.Spec{
		Name:    "backend",
		Subnets: []network.Subnet{{CIDR: netip.MustParsePrefix("10.1.0.0/24")}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := compute.AttachNetwork(ctx, inst, compute.NetworkAttachment{
		Network:   "backend",
		Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.10")}, // nil lets the network choose
	}); err != nil {
		log.Fatal(err)
	}
	info, err := inst.Info(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, endpoint := range info.Endpoints {
		fmt.Println(endpoint.Network.Name, endpoint.Addresses)
	}
	last := info.Endpoints[len(info.Endpoints)-1]
	fmt.Println(compute.DetachNetwork(ctx, inst, last.Ref.ID))
	// Output:
	// backend [10.1.0.10/24]
	// <nil>
}
