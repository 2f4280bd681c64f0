// Package storage is the portable API over volumes: filesystem trees and block
// devices that live apart from the instances that use them, in pools.
//
// [Volumes] and [Volume] are what every provider with storage implements. What
// only some offer is an extension interface with a helper function of the same
// name, such as [Resizer] and [Resize]; a helper's error is
// errors.ErrUnsupported where the provider has nothing of the kind.
//
// # Rules for every method
//
// All methods of all handles may be called concurrently. What changes one volume, or
// copies it, may wait for what does so already: in no order that is promised, and until
// its context ends. Reading never waits, nor do different volumes for each other.
//
// Arguments are looked at first. What is wrong with them is InvalidArgument, also where
// they ask for what is not there or not supported; only a call that a provider never
// offers may be errors.ErrUnsupported whatever its arguments are. Then it is looked
// whether the volume exists, then at the revision, and then at what else stands in the
// way.
//
// # Status
//
// The interfaces are Experimental until two real providers pass the
// conformance suite.
package storage
