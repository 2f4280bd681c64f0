package fake

import (
	"maps"
	"slices"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// Options are the options of New, Test and NewBackend. The zero value is a
// provider on a backend of its own, without bounds, delays and faults.
type Options struct {
	// Namespace is what the value sees; empty means "default".
	Namespace string
	// Owner is the name that new resources are marked with; empty means none, and
	// the test's name with Test.
	Owner string
	// OtherNetworks are networks of other values, whose endpoints the instances of this
	// one may plug in: those of other namespaces on the same backend. An endpoint of
	// another backend, which is another host, or of a real provider is FailedPrecondition.
	// Empty means none.
	OtherNetworks []network.Networks
	// Backend is the backend to stand on; nil makes one that ends with its last
	// value. All fields below describe a backend that is made: they must be zero
	// where one is given.
	Backend *Backend

	// Seed begins everything that looks random: with the same seed the same test is
	// given the same, whichever of its goroutines is faster, but for what the
	// package's documentation lists under Determinism.
	Seed uint64
	// Capacity is what the host has.
	Capacity Capacity
	// Pools are the pools that volumes are taken from: the bytes of each by its
	// name, 0 being no bound but the disk's. The one called "default", or else the
	// first by name, is the default pool. Empty: one of that name.
	Pools map[string]int64
	// Latency is how long operations take.
	Latency Latency
	// Images is what the registry has. Nil: every well-formed reference names an
	// image; see the package's documentation.
	Images []Image
	// Programs are what can run in every instance, by the path or the last part
	// of the path of the command.
	Programs map[string]Program
	// Fields narrow what a spec of a kind may say to what another provider takes too, such
	// as libvirt.Fields() for compute.VM: a field that is refused there is refused here,
	// with the reason given there, and one that is a hint there is a hint. A kind that is
	// not listed takes all that the fake takes.
	Fields map[compute.Kind]resource.FieldTable
	// Features narrow what there is to what another provider offers too: what that has not
	// is errors.ErrUnsupported here as well, with the reason given there, and fields of
	// specs that make no sense without it are refused. FeaturesOf takes them from what the
	// other says by Describe. A kind of instance that is not listed has all that the fake
	// has, as has what is nil. Some features are told and not acted on, as no call is
	// about them: logs.durable, volumes.quota, networks.dns and networks.address.stable. Where the other
	// has no images.rootfs, every image of the registry is told to be a disk.
	Features Features
	// Supervised has a supervisor act on restart policies, health checks and
	// readiness probes. Without, the restart policy and the health check are hints,
	// and compute.WaitFor probes from the caller's process, as with a real provider
	// that has no supervisor.
	Supervised bool
	// ProgramGrace is how long a program that has been killed may take to return
	// before it is abandoned; 0 means one second.
	ProgramGrace time.Duration
	// History is how many events a cursor reaches back; 0 means 4096.
	History int
	// LogSize bounds the kept output of one instance in bytes, the oldest going
	// first; 0 means 64 MiB.
	LogSize int64

	// RequireFaults makes the clean-up of Test fail the test for each injected
	// fault that never struck.
	RequireFaults bool
	// RequireEmpty makes the clean-up of Test fail the test for each instance, volume
	// and network that is there when the value has been closed: any, or those that
	// the value owns where Backend is given. A snapshot or an endpoint is part of what
	// it belongs to. Four things are not told of: what was ephemeral, for Close has
	// deleted it, as it does outside of tests, unless something that stays uses it;
	// what PlantForeign planted; images, which are a cache; and what a test leaves
	// that has failed already, for it may not have come to its own clean-up.
	RequireEmpty bool
}

// Capacity is what a host has. Zero values mean no bound.
type Capacity struct {
	// CPUs are the processors that are handed out to running instances that have
	// such a limit; what does not fit makes Start fail with ResourceExhausted.
	CPUs float64
	// Memory is the same in bytes of memory.
	Memory int64
	// Disk is the number of bytes for images, root disks and volumes; what does
	// not fit makes Pull, Create or Resize fail with ResourceExhausted.
	Disk int64
	// Instances is how many may exist, in all namespaces together; one more makes
	// Create fail with ResourceExhausted.
	Instances int
	// Volumes is the same for volumes.
	Volumes int
	// Networks is the same for networks.
	Networks int
	// Addresses is how many addresses each subnet may assign at most.
	Addresses int
}

// Latency says how long operations take, by operation; the empty operation is
// that of all which are not listed. OpBoot is how long a guest takes to answer
// Exec.
type Latency map[Op]Spread

// Spread is a range of durations, of which each call takes one by chance.
type Spread struct {
	// Min and Max are the shortest and the longest duration.
	Min, Max time.Duration
}

// Exactly is the spread of one duration.
func Exactly(d time.Duration) Spread { return Spread{d, d} }

// Between is the spread from least to most.
func Between(least, most time.Duration) Spread { return Spread{least, most} }

const (
	defaultNamespace    = "default"
	defaultHistory      = 4096
	defaultLogSize      = 64 * resource.MiB
	defaultProgramGrace = time.Second
)

func (o Options) withDefaults() Options {
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	if o.History == 0 {
		o.History = defaultHistory
	}
	if o.LogSize == 0 {
		o.LogSize = defaultLogSize
	}
	if o.ProgramGrace == 0 {
		o.ProgramGrace = defaultProgramGrace
	}
	return o
}

// Validate reports every fault of the options. New has no error to return: on
// options with faults its value answers every call with them; Test fails the
// test.
func (o Options) Validate() resource.Faults {
	var f resource.Faults
	if o.Namespace != "" {
		f.AddReason("namespace", resource.CheckNamespace(o.Namespace))
	}
	for n, other := range o.OtherNetworks {
		if other == nil {
			f.Add(at("otherNetworks", n), "must not be nil")
		}
	}
	if o.Backend != nil {
		for _, set := range []struct {
			field string
			zero  bool
		}{
			{"seed", o.Seed == 0}, {"capacity", o.Capacity == Capacity{}}, {"latency", o.Latency == nil},
			{"pools", o.Pools == nil}, {"images", o.Images == nil}, {"programs", o.Programs == nil}, {"programGrace", o.ProgramGrace == 0},
			{"fields", o.Fields == nil}, {"features", o.Features.isZero()}, {"supervised", !o.Supervised},
			{"history", o.History == 0}, {"logSize", o.LogSize == 0},
		} {
			if !set.zero {
				f.Add(set.field, "must be zero where backend is given")
			}
		}
	}
	for _, n := range []struct {
		field string
		value float64
	}{
		{"capacity.cpus", o.Capacity.CPUs}, {"capacity.memory", float64(o.Capacity.Memory)},
		{"capacity.disk", float64(o.Capacity.Disk)}, {"capacity.instances", float64(o.Capacity.Instances)},
		{"capacity.volumes", float64(o.Capacity.Volumes)}, {"capacity.networks", float64(o.Capacity.Networks)},
		{"capacity.addresses", float64(o.Capacity.Addresses)}, {"programGrace", float64(o.ProgramGrace)},
		{"history", float64(o.History)}, {"logSize", float64(o.LogSize)},
	} {
		if !(n.value >= 0) {
			f.Add(n.field, "must not be negative")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Pools)) {
		size := o.Pools[name]
		field := resource.MapField("pools", name)
		f.AddReason(field, resource.CheckName(name))
		if size < 0 {
			f.Add(field, "must not be negative")
		}
	}
	for _, op := range slices.Sorted(maps.Keys(o.Latency)) {
		spread := o.Latency[op]
		if op != "" {
			f.AddReason("latency["+string(op)+"]", op.check())
		}
		if spread.Min < 0 || spread.Max < spread.Min {
			f.Add("latency["+string(op)+"]", "must be from a least to a most duration")
		}
	}
	for kind := range o.Fields {
		if supervisedFields[kind] == nil {
			f.Add(resource.MapField("fields", string(kind)), "must be of a kind of instances")
		}
	}
	for kind := range o.Features.Instances {
		if supervisedFields[kind] == nil {
			f.Add(resource.MapField("features.instances", string(kind)), "must be of a kind of instances")
		}
	}
	for i, image := range o.Images {
		f.Under(at("images", i), image.Validate())
	}
	for _, name := range slices.Sorted(maps.Keys(o.Programs)) {
		if o.Programs[name] == nil {
			f.Add("programs["+name+"]", "must not be nil")
		}
	}
	return f
}
