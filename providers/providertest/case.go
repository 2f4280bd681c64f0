package providertest

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// testCase is one sentence of the contract with what proves it.
type testCase struct {
	// name is the sentence.
	name string
	// needs are what a provider must have for the case to make sense. A feature
	// among them counts as tried when the case has run.
	needs []need
	run   func(e *env)
}

// caseGroup is the cases of one subject.
type caseGroup struct {
	name  string
	cases []testCase
}

// groups lists all cases.
func groups() []caseGroup {
	return []caseGroup{
		{"lifecycle", lifecycleCases()},
		{"stop", stopCases()},
		{"transitions", transitionCases()},
		{"identity", identityCases()},
		{"concurrency", concurrencyCases()},
		{"cancel", cancelCases()},
		{"outages", outageCases()},
		{"hangs", hangCases()},
		{"errors", errorCases()},
		{"bad input", badInputCases()},
		{"lists", listCases()},
		{"watch", watchCases()},
		{"wait", waitCases()},
		{"wait for", waitForCases()},
		{"supervision", supervisionCases()},
		{"update", updateCases()},
		{"ensure", ensureCases()},
		{"run", runCases()},
		{"lifetime", lifetimeCases()},
		{"adopt", adoptCases()},
		{"placement", placementCases()},
		{"describe", describeCases()},
		{"capabilities", capabilityCases()},
		{"fields", fieldCases()},
		{"effects", effectCases()},
		{"rates", rateCases()},
		{"close", closeCases()},
		{"loops", loopCases()},
		{"exec", execCases()},
		{"exec output", execOutputCases()},
		{"logs", logCases()},
		{"stats", statsCases()},
		{"files", fileCases()},
		{"attach", attachCases()},
		{"console", consoleCases()},
		{"screenshot", screenshotCases()},
		{"guest", guestCases()},
		{"dial", dialCases()},
		{"copies", copyCases()},
		{"hostile", hostileCases()},
		{"images", imageCases()},
		{"volumes", volumeCases()},
		{"networks", networkCases()},
		{"leaks", leakCases()},
	}
}

// traits say what a case does without.
type traits struct {
	// fleeting: nothing that an instance keeps has to outlast its run.
	fleeting bool
	// idle: nothing is asked of an instance but what its program says, and to end.
	idle bool
}

// traitsOf returns those of each case by its name.
var traitsOf = sync.OnceValue(func() map[string]traits {
	all := make(map[string]traits)
	for _, g := range groups() {
		for _, c := range g.cases {
			all[c.name] = traits{
				fleeting: slices.Contains(fleeting, g.name),
				idle:     !slices.Contains(awake, g.name) && !slices.ContainsFunc(c.needs, need.answered),
			}
		}
	}
	return all
})

// fleeting are the groups of such cases, and awake those in which an instance has to
// take notice of what is done to it.
var (
	fleeting = []string{
		"stop", "transitions", "identity", "concurrency", "errors", "lists", "watch", "wait", "wait for",
		"supervision", "update", "lifetime", "describe", "close", "stats", "networks",
	}
	awake = []string{"effects", "rates"}
)

// scope says of what a need speaks.
type scope string

const (
	ofInstances scope = "instances"
	ofImages    scope = "images"
	ofVolumes   scope = "volumes"
	ofNetworks  scope = "networks"
	ofFields    scope = "field"
	ofWishes    scope = "wish"
	ofChanges   scope = "change"
	ofHooks     scope = "harness"
	ofProvider  scope = "provider"
)

// need is one thing without which a case makes no sense.
type need struct {
	scope scope
	name  string
}

// answered reports whether a need is of what an instance answers to.
func (n need) answered() bool {
	return n.scope == ofInstances && slices.Contains([]resource.Feature{
		compute.FeatureExec, compute.FeatureDial, compute.FeatureFiles, compute.FeatureGuest,
	}, resource.Feature(n.name))
}

func (n need) String() string { return fmt.Sprintf("%s: %s", n.scope, n.name) }

// has needs features of the instances.
func has(features ...resource.Feature) []need { return features2needs(ofInstances, features) }

// hasImages, hasVolumes and hasNetworks need features of the other resources.
func hasImages(features ...resource.Feature) []need   { return features2needs(ofImages, features) }
func hasVolumes(features ...resource.Feature) []need  { return features2needs(ofVolumes, features) }
func hasNetworks(features ...resource.Feature) []need { return features2needs(ofNetworks, features) }

func features2needs(s scope, features []resource.Feature) []need {
	needs := make([]need, len(features))
	for i, f := range features {
		needs[i] = need{s, string(f)}
	}
	return needs
}

// fields needs fields of the spec to be honoured, wishes only not to be refused,
// and changes needs fields of a Change to be honoured.
func fields(paths ...string) []need  { return words(ofFields, paths) }
func wishes(paths ...string) []need  { return words(ofWishes, paths) }
func changes(paths ...string) []need { return words(ofChanges, paths) }

// hook needs optional parts of the harness.
func hook(names ...string) []need { return words(ofHooks, names) }

// The extensions of a provider, which its type alone declares.
const (
	extensionSweep = "Sweeper"
	extensionAdopt = "Adopter"
	// extensionWatch is one of its instances.
	extensionWatch = "Watcher of single instances"
)

// canSweep and canAdopt need a provider that is a Sweeper or an Adopter.
func canSweep() []need { return words(ofProvider, []string{extensionSweep}) }
func canAdopt() []need { return words(ofProvider, []string{extensionAdopt}) }

// canWatch needs instances that tell their own changes.
func canWatch() []need { return words(ofProvider, []string{extensionWatch}) }

func words(s scope, names []string) []need {
	needs := make([]need, len(names))
	for i, name := range names {
		needs[i] = need{s, name}
	}
	return needs
}

// all joins needs.
func all(parts ...[]need) []need {
	var joined []need
	for _, p := range parts {
		joined = append(joined, p...)
	}
	return joined
}

// offer is what the provider under test declares, and what the harness can do.
type offer struct {
	kind  compute.Kind
	desc  univirt.Description
	hooks map[string]bool
	// extensions are what the provider is by its type.
	extensions map[string]bool
}

// extensionsOf says which extensions a provider has.
func extensionsOf(p univirt.Provider) map[string]bool {
	_, sweeps := resource.As[univirt.Sweeper](p)
	_, adopts := resource.As[univirt.Adopter](p)
	_, watches := resource.As[compute.Watcher](p.Instances().Handle(absentID))
	return map[string]bool{extensionSweep: sweeps, extensionAdopt: adopts, extensionWatch: watches}
}

func (o offer) kindDescription() univirt.KindDescription { return o.desc.Kinds[o.kind] }

// missing says why a need is not met, or returns "".
func (o offer) missing(n need) string {
	var features resource.Features
	var table resource.FieldTable
	kind := o.kindDescription()
	switch n.scope {
	case ofInstances:
		features = kind.Features
	case ofImages:
		features = o.desc.Images
	case ofVolumes:
		features = o.desc.Volumes.Features
	case ofNetworks:
		features = o.desc.Networks.Features
	case ofFields, ofWishes:
		table = kind.Fields
	case ofChanges:
		table = kind.Changeable
	case ofHooks:
		if !o.hooks[n.name] {
			return "the harness has no " + n.name
		}
		return ""
	case ofProvider:
		if !o.extensions[n.name] {
			return "the provider is no " + n.name
		}
		return ""
	}
	if n.scope == ofFields || n.scope == ofWishes || n.scope == ofChanges {
		rule := table.Rule(n.name)
		if rule.Level == resource.FieldHonored || n.scope == ofWishes && rule.Level == resource.FieldHint {
			return ""
		}
		return fmt.Sprintf("%s is %s: %s", n, rule.Level, rule.Reason)
	}
	feature := resource.Feature(n.name)
	if features.Has(feature) {
		return ""
	}
	return fmt.Sprintf("%s is not supported: %s", n, features[feature].Reason)
}

// declared lists every feature that is declared as supported, and every
// extension.
func (o offer) declared() []need {
	var needs []need
	for _, name := range slices.Sorted(maps.Keys(o.extensions)) {
		if o.extensions[name] {
			needs = append(needs, need{ofProvider, name})
		}
	}
	for _, d := range []struct {
		scope    scope
		features resource.Features
	}{
		{ofInstances, o.kindDescription().Features},
		{ofImages, o.desc.Images},
		{ofVolumes, o.desc.Volumes.Features},
		{ofNetworks, o.desc.Networks.Features},
	} {
		needs = append(needs, features2needs(d.scope, d.features.Names())...)
	}
	return needs
}
