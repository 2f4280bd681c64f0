// Package fake is a provider in memory, for tests of programs that use
// instances, images, volumes and networks. It passes the same conformance suite
// as the real providers, needs no set-up and no privileges, works inside
// testing/synctest bubbles, and can be told to fail.
//
//	func TestDeploy(t *testing.T) {
//		p := fake.Test(t, fake.Options{})
//		p.Fail(fake.On(fake.OpStart).Of("web").Nth(2).With(errdefs.ErrUnavailable))
//		...
//	}
//
// # Images
//
// Where [Options.Images] is nil, every well-formed reference can be pulled: the
// image has the users root, nobody and user, and its command is the last part of
// its repository, so that docker.io/library/nginx:1.27 runs "nginx". Where it is
// not nil, even if it is empty, it lists all that the registry has: any other
// reference is NotFound. A registry at a loopback address is Unavailable in either
// case, unless an image lies there: the fake has no sockets.
//
// A pull with mirrors takes the image that was put under the mirror's name, such as
// "mirror.example/library/nginx:1.27", and keeps it under the name it was asked for.
// A mirror without such an image is passed over.
//
// # Programs
//
// What runs inside an instance is a [Program], a Go function. A command is found
// in [Options.Programs] by its path ("/usr/sbin/nginx") or by the last part of it
// ("nginx"), then among the few that are built in: cat, echo, env, false, sleep
// and true. An image's own command for which there is no program is an idle main
// process: the instance is Running, without a goroutine, until it is stopped. Any
// other command that is not found is InvalidArgument, as with a real image.
//
// A program runs in this process, so nothing can take the processor away from
// it: one that does not return when its context is done is abandoned after
// [Options.ProgramGrace], as if it had been killed, and named by
// [Provider.Describe] and by the clean-up of [Test].
//
// # Backends
//
// A [Backend] is what stands behind a provider: the daemon, the hypervisor, the
// host. Several Provider values on one backend are as several processes on one
// host: what one makes the others see, and [Provider.Crash] ends one as kill -9
// would.
//
// # Supervision
//
// With [Options.Supervised] the backend acts on restart policies, health checks and
// readiness probes, whoever made the instance and whether or not that value is
// still open. Its calls are struck by the faults of [Backend.Fail], not by those of
// a value.
//
// # Other providers
//
// A test can have the fake refuse what the provider of production does not do:
// [Options.Fields] takes its tables of fields and [Options.Features] what it offers,
// as its Describe or its package tells them.
//
// # Determinism
//
// Identities, run tokens, hardware addresses, addresses, subnets, ports of the host,
// latencies and the faults that strike by chance depend on [Options.Seed], on what is
// asked for under which name, and on how often that was asked for before. They do
// not depend on other calls, so the same test gives the same [Backend.Dump], also
// where its goroutines race. Only these depend on who comes first:
//
//   - Calls that are about the same, as two reads of one instance or two endpoints
//     without a name: each is given what its place among them gives.
//   - Addresses, subnets and ports of the host, where two are to get the same: the
//     first gets it, and the other the next that is free. In a subnet of 254
//     addresses two of 20 instances meet in about every second test; what a test
//     compares it gives a larger subnet, or an address of its own.
//   - What is counted over all calls, as [Site.Nth], [Site.First] and [Site.From]
//     do: [Site.Of] makes their count that of one resource.
//   - What is short: who gets the last of a [Capacity].
//   - The order of lists and events, and which of its names an image had first.
package fake
