package fake

import (
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// instance is the record of an instance. The backend's lock guards it.
type instance struct {
	object
	state compute.State
	// spec is never changed in place: infos that were given out share it.
	spec  *compute.Spec
	image *image
	// imageName is the name that the image was asked for by, in full.
	imageName string
	turn      turn
	// stopping are the Stops that wait, or nil.
	stopping *stopping
	// run is the run under way, or the last one; nil where there was none.
	run  *run
	runs int
	// journal is the kept output; nil where there was none.
	journal *journal
	// parts is what most instances have not got.
	parts *parts
}

// parts are what only some instances have. An idle instance without them stays
// small.
type parts struct {
	// reason says more where the state is Failed or Unknown.
	reason string
	// pending are the paths of changes that wait for the next start.
	pending []string
	// files are laid out when somebody first looks at them; nil until then.
	files *instanceFiles
	// mounts are those of the spec, in its order.
	mounts []*mount
	// endpoints are the attachments to networks, in the order of the spec, and
	// published the ports that the run under way has on the host.
	endpoints []*endpoint
	published []network.Port
	// snapshots are kept states, the oldest first; head names the one that the
	// content was last kept in or set back to.
	snapshots []*snapshot
	head      string
	// row is the row of restarts that the supervisor is at; nil without.
	row *row
}

// keptRuns is how many earlier runs an instance remembers the ends of.
const keptRuns = 16

var _ stored = (*instance)(nil)

func (i *instance) stateText() string { return string(i.state) }

func (i *instance) lifetime() resource.Lifetime { return i.spec.Lifetime }

func (i *instance) target() target {
	return target{ref: i.ref(), labels: i.labels, kind: i.spec.Kind}
}

// more returns the instance's parts, made on first use. The backend is locked.
func (i *instance) more() *parts {
	if i.parts == nil {
		i.parts = &parts{}
	}
	return i.parts
}

// pending are the paths of changes that wait for the next start.
func (i *instance) pending() []string {
	if i.parts == nil {
		return nil
	}
	return i.parts.pending
}

// postpone keeps the paths of changes that wait for the next start.
func (i *instance) postpone(pending []string) {
	if i.parts != nil || len(pending) > 0 {
		i.more().pending = pending
	}
}

// forget drops the run before those that are remembered.
func (i *instance) forget() {
	r := i.run
	for range keptRuns {
		if r = r.before; r == nil {
			return
		}
	}
	r.before = nil
}

// runOf finds a run by its token: the last one where that is empty, or nil.
func (i *instance) runOf(token string) *run {
	if token == "" {
		return i.run
	}
	for r := i.run; r != nil; r = r.before {
		if r.exit.Run == token {
			return r
		}
	}
	return nil
}

// alive returns the run under way where a process can be started in it. The
// backend is locked.
func (i *instance) alive() (*run, error) {
	r := i.run
	switch {
	case r == nil || r.over || r.ending:
		return nil, resource.Errorf(errdefs.ErrFailedPrecondition, "the instance is %s", compute.Stopped)
	case !r.ready || r.restart != nil:
		return nil, resource.Errorf(errdefs.ErrUnavailable, "the guest does not answer yet")
	}
	return r, nil
}

// info tells what is known. The backend is locked.
func (i *instance) info() compute.Info {
	info := compute.Info{
		Ref:         i.ref(),
		Kind:        i.spec.Kind,
		Managed:     i.managed,
		Owner:       *i.owner,
		State:       i.state,
		Run:         "",
		Runs:        i.runs,
		Created:     i.created,
		Level:       i.level(),
		Labels:      i.labels,
		Annotations: i.annotations,
		Revision:    i.revisionText(),
		Pending:     i.pending(),
		Supervised:  i.managed && i.space.backend.opts.Supervised,
		Endpoints:   i.endpointInfos(),
		Ports:       i.portInfos(),
	}
	if i.managed {
		info.Spec = i.spec
	}
	if i.image != nil {
		info.Image = resource.Ref{
			Provider: Scheme, Kind: resource.KindImage, Namespace: i.space.name,
			Name: i.imageName, ID: i.image.digest,
		}
	}
	if r := i.run; r != nil {
		info.Run, info.Started = r.exit.Run, r.exit.Started
		if !r.over {
			if r.checks != nil {
				info.Health = r.checks.health
			}
			r = r.before
		}
		if r != nil {
			info.Exit, info.Finished = &r.exit, r.exit.Finished
		}
	}
	if i.parts != nil {
		info.Reason = i.parts.reason
	}
	return info
}

// removeInstance takes an instance that does not run out of the store, with what
// belongs to it alone. The backend is locked.
func (s *space) removeInstance(i *instance) {
	s.forgetInstance(i)
	s.emit(i, resource.EventDeleted, "")
}

// forgetInstance is removeInstance without a word.
func (s *space) forgetInstance(i *instance) {
	i.rest()
	i.detachEndpoints()
	i.detachVolumes()
	if i.image != nil {
		i.image.used--
	}
	s.backend.used.instances--
	s.backend.unstore(i.spec.RootDisk)
	s.instances.remove(i)
}
