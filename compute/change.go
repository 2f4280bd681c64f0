package compute

import (
	"time"

	"github.com/univirt/univirt/resource"
)

// ApplyMode says when a change takes effect.
type ApplyMode string

// The modes of applying a change.
const (
	// ApplyAuto changes a running instance where that is possible, and the rest
	// at the next start. The default.
	ApplyAuto ApplyMode = "auto"
	// ApplyLive changes the running instance, or fails with FailedPrecondition
	// and changes nothing.
	ApplyLive ApplyMode = "live"
	// ApplyNextStart leaves the run under way alone.
	ApplyNextStart ApplyMode = "next-start"
)

// Change says what to change of an instance. Fields that are nil or empty
// change nothing. All faults are found before the first effect; a field that
// the provider cannot change is errors.ErrUnsupported and names it. What waits
// for the next start stands in Info.Pending.
type Change struct {
	// Resources, Restart and StopGrace replace the spec's fields of these names
	// as a whole.
	Resources *Resources     `json:"resources,omitempty"`
	Restart   *RestartPolicy `json:"restart,omitempty"`
	StopGrace *time.Duration `json:"stopGrace,omitempty"`
	// Labels and Annotations are patches; they take effect at once.
	Labels      resource.LabelPatch `json:"labels,omitempty"`
	Annotations resource.LabelPatch `json:"annotations,omitempty"`
	// Apply says when; ApplyAuto by default.
	Apply ApplyMode `json:"apply,omitempty"`
	// IfRevision, if not empty, makes the call Aborted where the instance has
	// changed since.
	IfRevision string `json:"ifRevision,omitempty"`
}

// Validate reports every fault of the change.
func (c Change) Validate() resource.Faults {
	var f resource.Faults
	if c.Resources != nil {
		f.Under("resources", c.Resources.Validate())
	}
	if c.Restart != nil {
		f.Under("restart", c.Restart.Validate())
	}
	if c.StopGrace != nil {
		f.AddReason("stopGrace", checkDuration(*c.StopGrace))
	}
	f.Under("labels", c.Labels.Validate())
	f.Under("annotations", c.Annotations.ValidateKeys())
	switch c.Apply {
	case "", ApplyAuto, ApplyLive, ApplyNextStart:
	default:
		f.Add("apply", "must be %q, %q or %q", ApplyAuto, ApplyLive, ApplyNextStart)
	}
	return f
}

// To returns a copy of the spec with the change made.
func (c Change) To(spec Spec) Spec {
	spec = spec.Clone()
	if c.Resources != nil {
		spec.Resources = *c.Resources
	}
	if c.Restart != nil {
		spec.Restart = *c.Restart
	}
	if c.StopGrace != nil {
		spec.StopGrace = *c.StopGrace
	}
	if c.Labels != nil {
		spec.Labels = c.Labels.Apply(spec.Labels)
	}
	if c.Annotations != nil {
		spec.Annotations = resource.Annotations(c.Annotations.Apply(resource.Labels(spec.Annotations)))
	}
	return spec
}
