package univirt

import (
	"context"

	"github.com/univirt/univirt/resource"
)

// Sweeper is a provider that can remove what dead processes left behind.
type Sweeper interface {
	Provider
	// Sweep removes what the options say. It never touches what this library did
	// not make, what a living generation is making, or, without All, what is
	// finished. A resource that could not be removed stands in the report, and
	// does not stop the others; the error is for a sweep that could not be done
	// at all.
	Sweep(ctx context.Context, opts SweepOptions) (SweepReport, error)
}

// SweepOptions say what a sweep removes. The zero value removes what was in the
// making when its maker died, what is past its lifetime, and ephemeral
// resources of dead makers.
type SweepOptions struct {
	// Owner limits the sweep to resources of one owner's name; empty means all
	// owners.
	Owner string
	// All also removes finished resources, running ones included, of the owners
	// in question.
	All bool
	// DryRun reports and removes nothing.
	DryRun bool
}

// Validate reports every fault of the options: a name that no owner can have would
// sweep nothing, in silence.
func (o SweepOptions) Validate() resource.Faults {
	var f resource.Faults
	f.AddReason("owner", resource.CheckLabelValue(o.Owner))
	return f
}

// SweepReport says what a sweep did.
type SweepReport struct {
	// Removed are the resources that are gone, or would be in a dry run.
	Removed []resource.Ref
	// Failed are those that could not be removed, with the reason.
	Failed []SweepFailure
}

// SweepFailure is a resource that could not be removed.
type SweepFailure struct {
	Ref resource.Ref
	// Err says why.
	Err error
}

// Sweep removes what dead processes left behind; errors.ErrUnsupported where
// the provider cannot.
func Sweep(ctx context.Context, p Provider, opts SweepOptions) (SweepReport, error) {
	s, ok := resource.As[Sweeper](p)
	if !ok {
		return SweepReport{}, resource.Fail("sweep", resource.Ref{}, resource.Unsupported("sweep", ""))
	}
	return s.Sweep(ctx, opts)
}
