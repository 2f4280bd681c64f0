// Package providertest is the conformance suite: what a provider promises by
// implementing univirt.Provider, as cases that are named after the sentences of
// the contract.
//
// A provider's tests hand it a [Harness], which opens provider values and knows
// the image that the cases run:
//
//	func TestConformance(t *testing.T) {
//		providertest.Run(t, providertest.Harness{
//			Open:  open,
//			Image: "docker.io/library/guest:1",
//		})
//	}
//
// A case is left out only where the provider declares that it has not got what
// the case needs, never because of which provider it is; the run says how many
// were, and fails where something that the provider declares was not put to the
// test. After each case nothing of it may be left: no goroutine, and nothing of
// what [Harness.Inventory] lists.
//
// Cases run in parallel, as many at once as the flag -parallel says, each in a
// namespace that it shares with no other case at the same time. Where instances start
// within milliseconds all of them take a minute or two, and several where machines boot.
//
// The package providers says in which order a provider is written, and the example
// Skeleton is what it begins with. A group of cases is run alone by
// -run 'TestConformance/cases/^lifecycle$', and without the fields of [Harness] that are
// not required: a case that needs one is left out and says so. The image that the cases run is made by package testimage, which lies
// below this one as image.
//
// [Model] tries random sequences of operations against the table of
// transitions, and [Differential] compares two providers by them.
//
// The programs that cases run inside instances are those of package guest,
// which lies below this one.
package providertest
