// Package network is the portable API over networks: isolated layer-2 segments
// with subnets, addresses, names and ports, to which instances of any kind are
// attached.
//
// [Networks], [Network] and [Endpoint] are what every provider with networks
// implements. An endpoint is an object of the network, not of the instance: it
// has the address, and instances plug it in. So virtual machines of one
// provider and containers of another can share a network.
//
// # Status
//
// The interfaces are Experimental until two real providers pass the
// conformance suite.
package network
