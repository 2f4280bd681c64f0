// Package providers has no code: the packages below it are the providers, and
// providertest is the suite that each of them passes. This is how one more is written,
// in this module or in another, as no provider needs more than the exported API.
//
// The skeleton in the examples of providertest compiles, and passes the cases that are
// about a provider without any feature: copy it and fill it in.
//
// # The order
//
// Each step has groups of cases, which -run 'TestConformance/cases/^lifecycle$' runs
// alone. Declare nothing that is not written yet: what is not declared must answer
// errors.ErrUnsupported, and what is declared must have had a case that ran.
//
//  1. Open, Close and Describe: "describe". What there is not yet is
//     compute.AbsentImages, storage.Absent and network.Absent. A table of fields
//     (resource.FieldTable) says what a spec may ask for, and its Refuse refuses the rest.
//  2. One function that makes a *resource.Error of each of the backend's errors, with a
//     kind of errdefs: "errors".
//  3. Create, Get, Handle, Info, List and Delete of instances, with everything that Info
//     tells stored at the backend, so that another process sees it too: "identity",
//     "lists", "bad input", "fields".
//  4. Start, Stop, Wait and Update, by the table of compute.Transitions: "lifecycle",
//     "stop", "transitions", "wait", "update", "concurrency".
//  5. Watch: "watch", "wait for", "ensure", "run".
//  6. Undo and the end: a context that ends in the middle, a backend that is lost or
//     hangs, a process that dies, Close: "cancel", "outages", "hangs", "lifetime",
//     "close", "loops", "leaks".
//  7. One feature after the other, each an extension interface or another kind of
//     resource, and then its place in Describe: logs first, as most cases listen to what a
//     program says, then exec, images, volumes, networks.
//
// # The harness
//
// [github.com/univirt/univirt/providers/providertest.Harness] needs Open, and Image: an
// image with the programs of package guest, which the package image below providertest
// makes, or a function Adapt where no process can be chosen. Then Inventory, which
// shows what a case has left behind, is worth most; Crash and Sever prove what is
// undone. Each hook that is missing leaves cases out, and the run says which.
package providers
