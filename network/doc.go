// Package network is the portable API over networks: isolated layer-2 segments
// with subnets, addresses, names and ports, to which instances of any kind are
// attached.
//
// [Networks], [Network] and [Endpoint] are what every provider with networks
// implements. An endpoint is an object of the network, not of the instance: it
// has the address, and instances plug it in. So virtual machines of one
// provider and containers of another can share a network.
//
// # Rules for every method
//
// All methods of all handles may be called concurrently. What changes one network, its
// endpoints included, may wait for what does so already, and a Create for another: in no
// order that is promised, and until its context ends. Reading never waits.
//
// Arguments are looked at first. What is wrong with them is InvalidArgument, also where
// they ask for what is not there or not supported; only a call that a provider never
// offers may be errors.ErrUnsupported whatever its arguments are.
//
// # Status
//
// The interfaces are Experimental until two real providers pass the
// conformance suite.
package network
