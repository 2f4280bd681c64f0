package providertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
)

// Harness connects the suite with a provider. Open is required, and Image or
// Adapt; each hook that is nil leaves out the cases that need it, and the run says so.
//
// Its functions may be called concurrently.
type Harness struct {
	// Open opens a new provider value on the one backend under test. All values
	// of a namespace see the same resources. The suite closes what it opened.
	Open func(ctx context.Context, opts OpenOptions) (univirt.Provider, error)

	// OpenBeside is Open for a value whose instances may plug in endpoints of networks that
	// other values have, which those of one of another namespace may be.
	OpenBeside func(ctx context.Context, opts OpenOptions, others ...network.Networks) (univirt.Provider, error)

	// Image is the reference of the image that cases run. It holds the programs
	// of package guest at GuestPath, a user named "user" with the ID 1000 and the
	// home /home/user, and no entrypoint; a disk image may hold anything that Adapt
	// makes run. Cases never pull it.
	Image string
	// Prepare brings the image into the namespace of a provider value; nil where
	// it is there in every namespace.
	Prepare func(ctx context.Context, p univirt.Provider) error
	// Adapt makes of a spec, whose process is a program of package guest, one that
	// runs that program where the provider does not honour the process itself: a
	// virtual machine's kernel may be told which, say. It is false for a program that
	// cannot be run, and the cases that need it are left out; "sleep 1h" must be
	// possible, which may be anything that does nothing. Nil leaves specs alone.
	Adapt func(spec compute.Spec) (adapted compute.Spec, ok bool)
	// AdaptFleeting is Adapt for cases in which nothing that an instance keeps has to
	// outlast its run, and of which no snapshot is taken; nil means Adapt. Instances
	// without a disk may be made and boot sooner.
	AdaptFleeting func(spec compute.Spec) (adapted compute.Spec, ok bool)
	// AdaptIdle is Adapt for cases that ask nothing of an instance but what its program
	// says, and to end: "sleep 1h" may stand still, "exit" with any code only end, and
	// what says something do so without a system around it. Where it is false or nil,
	// Adapt is asked. What boots for nothing takes the processors from others.
	AdaptIdle func(spec compute.Spec) (adapted compute.Spec, ok bool)
	// Shared has cases that only execute something in a running instance share one,
	// and those that only look at what instances reach on networks; and those that look
	// at the content of disks and volumes have one after the other, where instances take
	// long until they answer.
	Shared bool
	// Kind is the kind of instance to test; empty means the provider's default.
	Kind compute.Kind
	// Groups are the groups whose cases run; nil means all. Of what is declared and was
	// not tried nothing is said then.
	Groups []string

	// Inventory lists everything of a namespace that the backend holds, one word
	// a thing: containers, snapshots, leases, processes, files, addresses. It
	// must be as long after a case as it was before.
	Inventory func(ctx context.Context, namespace string) ([]string, error)
	// Crash makes the process that opened a provider value die, as far as the
	// backend and other values can tell: nothing is cleaned up, and its
	// generation is dead. The suite does not use the value afterwards.
	Crash func(ctx context.Context, p univirt.Provider) error
	// Sever makes a provider value lose its backend in the middle of what it does. The
	// channel that it returns is closed when the first call is lost, and mend brings the
	// backend back.
	Sever func(p univirt.Provider, o Outage) (struck <-chan struct{}, mend func(), err error)
	// Foreign makes a thing in a namespace that the provider shows as an
	// unmanaged instance, by whatever name, and returns how to remove it. Where
	// the provider is a univirt.Adopter it is Stopped and runs "sleep 1h" of
	// package guest when it is started.
	Foreign func(ctx context.Context, namespace string) (remove func(context.Context) error, err error)
	// Force brings an instance into a state to which no operation leads, such as
	// Failed or Unknown. It returns errors.ErrUnsupported for the states that it
	// cannot bring about.
	Force func(ctx context.Context, p univirt.Provider, id string, state compute.State) error

	// Remote is the reference of an image that can be pulled and that no
	// namespace has. Gone is one of the same registry that does not exist.
	Remote, Gone string
	// Fresh puts an image into the registry that no namespace has ever had. It
	// returns its reference, and how often an image of that ID has been downloaded
	// so far: the largest number over its layers.
	Fresh func() (ref string, downloads func(id string) int, err error)
	// Refusing makes an image of which every Pull fails with a kind of error, and
	// returns its reference. It returns errors.ErrUnsupported for the kinds that it
	// cannot bring about.
	Refusing func(kind error) (ref string, err error)
	// Archive writes an image with some name as a stream of a format that the
	// provider imports, and returns the name: OCI and Docker archives where it has
	// images of files, else QCOW2. The image is not Image.
	Archive func(w io.Writer, format compute.ImageFormat) (name string, err error)

	// SmallPool is the name of a pool for volumes whose bound is so low that a case
	// may fill it. Nothing else uses it.
	SmallPool string

	// Patience is how long the suite waits for what must happen. The zero value
	// means 30 seconds.
	Patience time.Duration
	// Lanes is the number of namespaces that the suite makes, and with it the
	// largest number of cases that run at once; 0 means as many as the flag
	// -parallel allows.
	Lanes int
}

// Outage says how a provider value loses its backend.
type Outage struct {
	// Call is the first that is lost, of those that the value makes to its backend
	// from now on, counted from 0. All later ones are lost too.
	Call int
	// Taken has the first take effect all the same, so that only its answer is lost.
	Taken bool
	// Hangs has lost calls wait until the backend is back, which it answers then, or
	// their context ends, as where it hangs. Otherwise they fail, as where it dies.
	Hangs bool
}

// OpenOptions say what provider value the suite wants.
type OpenOptions struct {
	// Namespace is never empty.
	Namespace string
	// Owner is the name that resources are marked with.
	Owner string
}

// GuestPath is where the test image holds the programs of package guest.
const GuestPath = "/bin/guest"

// The user that the test image knows beside root.
const (
	GuestUser   = "user"
	GuestUserID = 1000
)

// completed returns the harness with its defaults filled in.
func (h Harness) completed() (Harness, error) {
	switch {
	case h.Open == nil:
		return h, errors.New("providertest: Harness.Open is required")
	case h.Image == "" && h.Adapt == nil:
		return h, errors.New("providertest: Harness.Image is required, or Adapt")
	}
	for _, name := range h.Groups {
		if !slices.ContainsFunc(groups(), func(g caseGroup) bool { return g.name == name }) {
			return h, fmt.Errorf("providertest: Harness.Groups: there is no group %q", name)
		}
	}
	if h.Patience == 0 {
		h.Patience = 30 * time.Second
	}
	if h.Lanes == 0 {
		h.Lanes = parallelism()
	}
	return h.strictly(), nil
}

// hooks lists the optional parts that are there, by their names.
func (h Harness) hooks() map[string]bool {
	return map[string]bool{
		"OpenBeside": h.OpenBeside != nil,
		"Image":      h.Image != "",
		"Inventory":  h.Inventory != nil,
		"Crash":      h.Crash != nil,
		"Sever":      h.Sever != nil,
		"Foreign":    h.Foreign != nil,
		"Force":      h.Force != nil,
		"Remote":     h.Remote != "",
		"Gone":       h.Gone != "",
		"Fresh":      h.Fresh != nil,
		"Refusing":   h.Refusing != nil,
		"Archive":    h.Archive != nil,
		"SmallPool":  h.SmallPool != "",
	}
}
