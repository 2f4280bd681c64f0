// Package compute is the portable API over instances, which are virtual
// machines or containers, and the images that they are made of.
//
// [Instances], [Instance] and [Images] are what every provider implements.
// What only some offer is an extension interface with a helper function of the
// same verb, such as [Pauser] and [Pause]. A helper finds the extension through
// any wrapper; where there is none its error is errors.ErrUnsupported. "Never"
// is errors.ErrUnsupported; "not yet", such as an agent that has not answered,
// is Unavailable.
//
// What can be derived from these is a plain function: [Run], [WaitFor],
// [Ensure].
//
// # Rules for every method
//
// All methods of all handles may be called concurrently. What changes one
// instance queues behind what changes it already, in no order that is promised, and
// a queued call ends with its context; reading, waiting, logs, exec, stats and
// dialling never queue; different instances never wait for each other.
//
// A context that is done before a call has no effect at the backend. A context
// bounds the call: starting a process or dialling, not the process or the
// connection; it bounds a whole stream.
//
// A cancelled Create, Clone, Pull or Attach returns after its undo, at most ten
// seconds past the context; what could not be undone stands in the error. A
// cancelled Start, Stop, Update or Delete leaves a state of the table.
//
// Errors are *resource.Error or a context's error. Arguments are looked at first, and
// what is wrong with them is InvalidArgument; only a call that a provider never offers
// may be errors.ErrUnsupported whatever its arguments are. Then it is looked whether the
// instance exists, then at the revision, and then at its state.
//
// # Status
//
// The interfaces are Experimental until two real providers pass the
// conformance suite.
package compute
