package fake

import (
	"github.com/univirt/univirt/compute"
)

// instance is the record of an instance. The backend's lock guards it.
type instance struct {
	object
	space *space
	kind  compute.Kind
	state compute.State
	// reason says more where the state is Failed or Unknown.
	reason string
	// spec is never changed in place: infos that were given out share it.
	spec  *compute.Spec
	image *image
	turn  turn
	// run is the run under way, or the last one; nil where there was none.
	run     *run
	runs    int
	pending []string
	// parts is what most instances have not got.
	parts *parts
}

// parts are what only some instances have: files that were looked at, endpoints,
// volumes, snapshots. An idle instance without them stays small.
type parts struct {
	// The fields below belong to the files named after them.
}

var _ stored = (*instance)(nil)

func (i *instance) stateText() string { return string(i.state) }

// more returns the instance's parts, made on first use. The backend is locked.
func (i *instance) more() *parts {
	if i.parts == nil {
		i.parts = &parts{}
	}
	return i.parts
}
