package policy

import (
	"maps"
	"slices"
	"strings"
)

// core are the packages of the contract, each of which may import those before
// it that its layer names.
var core = []string{"resource", "storage", "network", "compute", ""}

// layer says what packages may import of the module, and of other modules. The
// first layer that a package matches holds. A pattern ending in /... means a
// folder and all below it.
type layer struct {
	packages []string
	may      []string
	// foreign are the other modules' packages that may be imported; nil means
	// any.
	foreign []string
}

var (
	coreForeign = []string{"github.com/containerd/errdefs"}
	layers      = []layer{
		{[]string{"resource"}, nil, coreForeign},
		{[]string{"storage", "network"}, []string{"resource"}, coreForeign},
		{[]string{"compute"}, []string{"resource", "storage", "network"}, coreForeign},
		{[]string{""}, []string{"resource", "storage", "network", "compute"}, coreForeign},
		{[]string{"providers/fake/..."}, append([]string{"providers/fake/..."}, core...), coreForeign},
		// The adapter of the suite's guest knows the fake, and nothing else does.
		{[]string{"providers/providertest/fakeguest/..."}, append([]string{"providers/providertest/...", "providers/fake"}, core...), nil},
		{[]string{"providers/providertest/..."}, append([]string{"providers/providertest/..."}, core...), nil},
		// A provider may import what is its own, and no other provider.
		{[]string{"providers/..."}, append([]string{"SELF/...", "internal/..."}, core...), nil},
		// A program for a demonstration is like an example, but stays ours.
		{[]string{"internal/demo/..."}, append([]string{"providers/...", "internal/..."}, core...), nil},
		// What providers have in common speaks the API's language.
		{[]string{"internal/watching", "internal/callbacks"}, []string{"resource", "compute"}, nil},
		{[]string{"internal/supervise"}, []string{"resource", "network", "compute", "internal/filelock"}, nil},
		{[]string{"internal/dialing"}, []string{"resource", "network", "internal/..."}, nil},
		{[]string{"internal/hostnet"}, []string{"resource", "network", "internal/..."}, nil},
		{[]string{"internal/sweeping"}, core, nil},
		{[]string{"internal/archives", "internal/outlive"}, []string{"resource"}, nil},
		{[]string{"internal/rooted"}, []string{"resource", "internal/archives"}, nil},
		{[]string{"internal/..."}, []string{"internal/..."}, nil},
		{[]string{"examples/..."}, append([]string{"providers/...", "SELF/..."}, core...), coreForeign},
	}
)

// harmless are packages of other modules that are no SDK: they speak to the
// kernel, or are what the core may import anyway.
var harmless = []string{"github.com/containerd/errdefs", "golang.org/x/sys/..."}

// Imports finds imports that go against the direction of the map, files of
// tests left aside.
func Imports(s *Source) []Finding {
	var out []Finding
	for _, p := range s.Packages {
		at := slices.IndexFunc(layers, func(l layer) bool { return matches(l.packages, p.Path) })
		if at < 0 {
			out = append(out, Finding{p.Path, "the folder has no place in the map: give it a layer"})
			continue
		}
		l, self := layers[at], strings.Join(firstParts(p.Path, 2), "/")
		may := slices.Clone(l.may)
		for i := range may {
			may[i] = strings.Replace(may[i], "SELF", self, 1)
		}
		for _, f := range p.sources() {
			for _, name := range slices.Sorted(maps.Keys(imported(f))) {
				pos := imported(f)[name]
				switch own, inside := s.inModule(name); {
				case inside && own != p.Path && !matches(may, own):
					out = append(out, s.finding(pos, "must not import %s", name))
				case !inside && isForeign(name) && l.foreign != nil && !matches(l.foreign, name):
					out = append(out, s.finding(pos, "must not import %s", name))
				}
			}
		}
	}
	return append(out, s.strayUsers()...)
}

// strayUsers finds importers of internal packages that use an SDK, but for
// providers and other internal packages.
func (s *Source) strayUsers() []Finding {
	var out []Finding
	for _, p := range s.Packages {
		if matches([]string{"providers/...", "internal/..."}, p.Path) {
			continue
		}
		for _, f := range p.sources() {
			for name, pos := range imported(f) {
				own, inside := s.inModule(name)
				if !inside || !matches([]string{"internal/..."}, own) {
					continue
				}
				for _, foreign := range slices.Sorted(maps.Keys(s.foreignOf(own))) {
					if !matches(harmless, foreign) {
						out = append(out, s.finding(pos, "links %s, which is for providers", foreign))
					}
				}
			}
		}
	}
	return out
}

// Linked finds what a program links of other modules, beyond errdefs, that
// imports the packages given and nothing else, on any system.
func Linked(s *Source, packages ...string) []Finding {
	found := map[string]string{}
	for _, p := range packages {
		for name, via := range s.foreignOf(p) {
			if !matches(coreForeign, name) {
				found[name] = via
			}
		}
	}
	var out []Finding
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, Finding{found[name], "links " + name})
	}
	return out
}

// foreignOf returns the packages of other modules that a package imports, itself
// or through others of the module, each with the package that imports it.
func (s *Source) foreignOf(from string) map[string]string {
	found, seen := map[string]string{}, map[string]bool{}
	var visit func(dir string)
	visit = func(dir string) {
		if seen[dir] {
			return
		}
		seen[dir] = true
		for _, p := range s.Packages {
			if p.Path != dir {
				continue
			}
			for _, f := range p.sources() {
				for name := range imported(f) {
					if own, inside := s.inModule(name); inside {
						visit(own)
					} else if isForeign(name) {
						found[name] = dir
					}
				}
			}
		}
	}
	visit(from)
	return found
}

// inModule returns the folder of an import path of this module.
func (s *Source) inModule(name string) (string, bool) {
	if name == s.Module {
		return "", true
	}
	return strings.CutPrefix(name, s.Module+"/")
}

// isForeign reports whether an import path is of another module and not of the
// standard library, whose first part has no dot.
func isForeign(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return strings.Contains(first, ".")
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if folder, ok := strings.CutSuffix(pattern, "/..."); ok {
			return name == folder || strings.HasPrefix(name, folder+"/")
		}
		return name == pattern
	})
}

func firstParts(name string, n int) []string {
	parts := strings.Split(name, "/")
	return parts[:min(n, len(parts))]
}
