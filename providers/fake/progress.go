package fake

import (
	"slices"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// reporter tells progress. It does nothing where nobody asks.
type reporter struct {
	tell func(resource.Progress)
	last resource.Progress
}

func newReporter(op string, ref resource.Ref, tell resource.ProgressFunc) *reporter {
	return &reporter{tell: tell, last: resource.Progress{Op: op, Ref: ref}}
}

// told is whom an operation on images tells its progress, if anybody.
func (p *Provider) told(tell resource.ProgressFunc) resource.ProgressFunc {
	if !p.backend.offers.Images.Has(compute.FeatureProgress) {
		return nil
	}
	return tell
}

// phase tells of a phase in which no byte moves.
func (r *reporter) phase(name string) {
	if r.tell == nil {
		return
	}
	r.last.Phase, r.last.Time = name, time.Now()
	told := r.last
	told.Items = slices.Clone(r.last.Items)
	r.tell(told)
}

// layers tells how the parts of an image come in, one after the other.
func (r *reporter) layers(c *artifact, there bool) {
	if r.tell == nil {
		return
	}
	rest := c.size
	add := func(id string, size int64) {
		r.last.Items = append(r.last.Items, resource.ProgressItem{ID: id, Phase: "waiting", Total: size})
		rest -= size
	}
	for _, l := range c.layers {
		add(l.digest, int64(len(l.data)))
	}
	if rest > 0 {
		// The manifest and the configuration, or what Image.Size says.
		add(c.digest, rest)
	}
	r.last.Total = c.size
	for n := range r.last.Items {
		item := &r.last.Items[n]
		if there {
			item.Phase = "exists"
		} else {
			item.Phase = "downloading"
			r.phase("downloading")
			item.Phase = "done"
		}
		item.Done = item.Total
		r.last.Done += item.Total
		r.phase("downloading")
	}
	if !there {
		r.phase("unpacking")
	}
}
