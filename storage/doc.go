// Package storage is the portable API over volumes: filesystem trees and block
// devices that live apart from the instances that use them, in pools.
//
// [Volumes] and [Volume] are what every provider with storage implements. What
// only some offer is an extension interface with a helper function of the same
// name, such as [Resizer] and [Resize]; a helper's error is
// errors.ErrUnsupported where the provider has nothing of the kind.
//
// # Status
//
// The interfaces are Experimental until two real providers pass the
// conformance suite.
package storage
