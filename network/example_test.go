package network_test

import (
	"fmt"

	"github.com/univirt/univirt/network"
)

func ExampleParsePort() {
	for _, text := range []string{"80", "8080:80", "0:53/udp", "192.0.2.1:8080:80"} {
		p, err := network.ParsePort(text)
		fmt.Printf("instance %d/%s, published %t at %s port %d, %v\n", p.Instance, p.Protocol, p.Publish, p.HostIP, p.Host, err)
	}
	// Output:
	// instance 80/tcp, published false at invalid IP port 0, <nil>
	// instance 80/tcp, published true at invalid IP port 8080, <nil>
	// instance 53/udp, published true at invalid IP port 0, <nil>
	// instance 80/tcp, published true at 192.0.2.1 port 8080, <nil>
}
