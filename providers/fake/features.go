package fake

import (
	"maps"
	"strings"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// What is declared here is what the conformance suite proves.

var (
	// commonFields refuse little: a program that is tested must be able to ask for
	// all that a real provider gives. What nothing acts on is a hint. What isolates
	// an instance from its host has no other effect than to be seen by programs.
	commonFields = resource.FieldTable{}.
			Honored(resource.FieldPaths(compute.Spec{})...).
			Hint("the fake is one host", "placement.zone", "placement.hosts", "placement.near", "placement.apart").
			Hint(unbraked, rates...).
			Hint("programs are Go functions, which no process of the fake's has to reap", "init").
			Hint("the fake has no kernel", below("sysctls", "rlimits")...).
			Hint("the fake's host has no devices", below("devices")...)
	containerFields = maps.Clone(commonFields).
			Refused("only a virtual machine boots", below("cloudInit", "boot")...)
	vmFields = maps.Clone(commonFields).
			Refused("a virtual machine cannot share the host's network", "networkMode=host").
			Refused("a virtual machine has a kernel of its own",
			below("rlimits", "sysctls", "init", "resources.pids", "resources.shmSize", "security", "devices")...)
	containerChanges = resource.FieldTable{}.Honored(resource.FieldPaths(compute.Change{})...).
				Hint(unbraked, rates...)
	vmChanges = maps.Clone(containerChanges).
			Refused("a virtual machine has a kernel of its own", "resources.pids", "resources.shmSize")

	supervisedFields  = map[compute.Kind]resource.FieldTable{compute.Container: containerFields, compute.VM: vmFields}
	supervisedChanges = map[compute.Kind]resource.FieldTable{compute.Container: containerChanges, compute.VM: vmChanges}
	// plainFields and plainChanges are those where there is no supervisor.
	plainFields  = withHints(supervisedFields, below("restart", "health"))
	plainChanges = withHints(supervisedChanges, below("restart"))
)

// withHints returns tables in which fields are hints for want of a supervisor.
func withHints(tables map[compute.Kind]resource.FieldTable, fields []string) map[compute.Kind]resource.FieldTable {
	out := map[compute.Kind]resource.FieldTable{}
	for kind, table := range tables {
		out[kind] = maps.Clone(table).Hint(unsupervised, fields...)
	}
	return out
}

const (
	unsupervised = "no supervisor runs: see Options.Supervised"
	unbraked     = "programs of the fake run as fast as they can"
	noNative     = "the fake has no native value"
)

var rates = []string{
	"resources.cpuWeight", "resources.cpuSet", "resources.diskRead", "resources.diskWrite", "resources.netReceive", "resources.netTransmit",
}

// gapsOf lists what of a spec is not honoured.
func (b *Backend) gapsOf(spec *compute.Spec) []resource.Gap {
	gaps := b.fieldsOf(kindOf(*spec)).Gaps(spec)
	if spec.Native.For(Scheme) != nil {
		gaps = append(gaps, resource.Gap{Field: "native", Level: resource.FieldRefused, Reason: noNative})
	}
	return gaps
}

func (b *Backend) changesOf(kind compute.Kind) resource.FieldTable {
	if b.opts.Supervised {
		return supervisedChanges[kind]
	}
	return plainChanges[kind]
}

// below lists the paths of a spec's fields that are one of these or lie below.
func below(tops ...string) []string {
	var out []string
	for _, path := range resource.FieldPaths(compute.Spec{}) {
		for _, top := range tops {
			if rest, ok := strings.CutPrefix(path, top); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				out = append(out, path)
			}
		}
	}
	return out
}

func (b *Backend) fieldsOf(kind compute.Kind) resource.FieldTable { return b.fields[kind] }

// fieldsBy returns the tables of a backend with some options.
func fieldsBy(opts Options) map[compute.Kind]resource.FieldTable {
	all := plainFields
	if opts.Supervised {
		all = supervisedFields
	}
	if opts.Fields == nil {
		return all
	}
	all = maps.Clone(all)
	for kind, by := range opts.Fields {
		all[kind] = narrowed(all[kind], by)
	}
	return all
}

// narrowed returns what two tables take, the first of which lists all fields.
func narrowed(table, by resource.FieldTable) resource.FieldTable {
	out := maps.Clone(table)
	for pattern, rule := range table {
		field, _, _ := strings.Cut(pattern, "=")
		if other := by.Rule(field); other.Level < rule.Level {
			out[pattern] = other
		}
	}
	for pattern, rule := range by {
		field, _, ofValue := strings.Cut(pattern, "=")
		if _, listed := table[pattern]; ofValue && !listed && rule.Level < out.Rule(field).Level {
			out[pattern] = rule
		}
	}
	return out
}

// featuresOf says what an instance of a kind can do.
func featuresOf(kind compute.Kind) resource.Features {
	features := resource.Features{}
	for _, feature := range compute.Features() {
		features[feature] = resource.Support{Supported: true}
	}
	never := func(reason string, list ...resource.Feature) {
		for _, feature := range list {
			features[feature] = resource.Support{Reason: reason}
		}
	}
	never("Stop and Start do it", compute.FeatureRestart)
	never("the fake is one host", compute.FeatureMigrate)
	if kind == compute.VM {
		features[compute.FeatureUpdateLive] = resource.Support{Supported: true,
			Reason: "processors up to four times those that the run began with, and up to eight at least; memory within what it began with"}
	}
	if kind == compute.Container {
		never("only a virtual machine has it",
			compute.FeatureReset, compute.FeatureConsole, compute.FeatureScreenshot, compute.FeatureGuest)
	}
	return features
}

var imageFeatures = func() resource.Features {
	features := resource.Features{}
	for _, feature := range compute.ImageFeatures() {
		features[feature] = resource.Support{Supported: true}
	}
	return features
}()
