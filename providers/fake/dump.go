package fake

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/univirt/univirt/resource"
)

// Dump returns what is in the value's namespace as text, for golden tests and for
// the log of a failed one: one paragraph a resource, by kind and name. The same
// test with the same seed gives the same text, as the package's documentation says
// under Determinism: it has no times and counts nothing that depends on the machine.
func (p *Provider) Dump() string {
	p.backend.mu.Lock()
	defer p.backend.mu.Unlock()
	var d dumper
	p.space.dump(&d)
	return d.b.String()
}

// Dump returns what is in all namespaces, as Provider.Dump does for one.
func (b *Backend) Dump() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var d dumper
	for _, name := range slices.Sorted(maps.Keys(b.spaces)) {
		b.spaces[name].dump(&d)
	}
	return d.b.String()
}

// dumper writes a dump.
type dumper struct{ b strings.Builder }

// begin starts the paragraph of a resource.
func (d *dumper) begin(r stored) {
	o := r.meta()
	fmt.Fprintf(&d.b, "%s %s/%s\n", o.kind, o.space.name, o.name)
	d.line("id", o.id)
	if !o.managed {
		d.line("managed", "false")
	}
	if o.making {
		d.line("unfinished", "true")
	}
	if o.owner.Name != "" {
		d.line("owner", o.owner.Name)
	}
	if lifetime := r.lifetime(); lifetime != (resource.Lifetime{}) {
		d.line("lifetime", lifetime.String())
	}
	d.pairs("labels", o.labels)
	d.pairs("annotations", o.annotations)
}

// line writes a property, unless it is empty. Text from outside is quoted where it
// could be taken for something else.
func (d *dumper) line(key, value string) {
	if value == "" {
		return
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		value = fmt.Sprintf("%q", value)
	}
	fmt.Fprintf(&d.b, "  %s: %s\n", key, value)
}

func (d *dumper) pairs(key string, pairs map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		d.line(key+"["+name+"]", pairs[name])
	}
}

// dump writes the namespace.
func (s *space) dump(d *dumper) {
	records := s.records()
	slices.SortStableFunc(records, func(a, b stored) int {
		x, y := a.meta(), b.meta()
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.name, y.name))
	})
	for _, r := range records {
		d.begin(r)
		r.dump(d)
	}
}

// dump writes what Dump says of an image.
func (img *image) dump(d *dumper) {
	d.line("names", strings.Join(slices.Sorted(slices.Values(img.names)), " "))
	d.line("platform", img.platform.String())
	d.line("form", string(img.form))
}

// dump writes what Dump says of an instance.
func (i *instance) dump(d *dumper) {
	d.line("kind", string(i.spec.Kind))
	d.line("state", string(i.state))
	if i.parts != nil {
		d.line("reason", i.parts.reason)
	}
	d.line("image", i.imageName)
	d.line("command", strings.Join(slices.Concat(i.spec.Process.Command, i.spec.Process.Args), " "))
	d.line("pending", strings.Join(i.pending(), " "))
	if r := i.run; r != nil {
		d.line("run", r.exit.Run)
		if e := r.exit; r.over {
			text := fmt.Sprintf("code %d", e.Code)
			for _, more := range []string{e.Signal, e.Reason} {
				if more != "" {
					text += ", " + more
				}
			}
			if e.OOM {
				text += ", out of memory"
			}
			d.line("exit", text)
		}
	}
	for _, e := range i.endpointInfos() {
		var addresses []string
		for _, a := range e.Addresses {
			addresses = append(addresses, a.String())
		}
		d.line("endpoint", strings.Join(append([]string{e.Network.Name, e.MAC.String()}, addresses...), " "))
	}
	for _, p := range i.portInfos() {
		d.line("port", p.String())
	}
}
