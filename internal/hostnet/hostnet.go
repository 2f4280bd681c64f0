// Package hostnet is the networks of one Linux host, made of bridges, veth pairs,
// nftables and files. It knows nothing of what is plugged in, so containers and
// virtual machines of any provider share a network.
//
// A state folder holds a record of everything that is meant to be there. What the
// kernel has is computed of the records, by the same functions for a change, after a
// crash and after a reboot. Any number of values and processes may use one folder.
package hostnet

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/resource"
)

// The folder for state has:
//
//	home                     the folder's own ID, by which its links are known
//	lock                     held while networks or rules are changed
//	names/DIGEST             the ID of the network that has a name
//	networks/ID/record       the network
//	networks/ID/lock         shared by changes of endpoints, else exclusive
//	networks/ID/endpoints/ID the endpoints, each with a lock while it is plugged
//	networks/ID/taken/...    a file for each address and MAC that somebody has
//	networks/ID/last-N       the address of the N-th subnet that was assigned last
//
// Whatever is unfinished is under a lock that its maker holds, which dies with it. So
// whoever has the lock knows that the maker is dead, and who the maker was is nowhere
// written down.

// Options say where a Host works. The zero value is right for one folder a host.
type Options struct {
	// Namespace is the network namespace of the host's side; nil is that of the
	// process. It is not used after Open has returned.
	Namespace *os.File
	// Table is the name of the table of nftables, "univirt" if empty. A table belongs
	// to one folder: another's is refused.
	Table string
	// Prefix begins the names of links, "uv" if empty. It has at most four letters
	// and digits.
	Prefix string
}

// Host keeps the networks that one folder has records of. All methods may be called
// concurrently. Errors are *resource.Error without an operation, or a context's.
type Host struct {
	dir    string
	home   string
	prefix string
	kernel kernel
	step   func(name string)
	closed sync.Once
}

// Open makes the folder where it is absent and returns its Host. It changes nothing
// in the kernel: Repair does.
func Open(dir string, o Options) (*Host, error) {
	if o.Table == "" {
		o.Table = "univirt"
	}
	if o.Prefix == "" {
		o.Prefix = "uv"
	}
	if reason := checkPrefix(o.Prefix); reason != "" {
		return nil, failed(errdefs.ErrInvalidArgument, "prefix", "%s", reason)
	}
	if reason := resource.CheckName(o.Table); reason != "" {
		return nil, failed(errdefs.ErrInvalidArgument, "table", "%s", reason)
	}
	h := &Host{dir: dir, prefix: o.Prefix, step: func(string) {}}
	var err error
	for _, folder := range []string{"networks", "names"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			return nil, failed(errdefs.ErrFailedPrecondition, "stateDir", "%w", err)
		}
	}
	if h.home, err = homeOf(dir); err != nil {
		return nil, failed(errdefs.ErrFailedPrecondition, "stateDir", "%w", err)
	}
	if h.kernel, err = openKernel(h, o); err != nil {
		return nil, err
	}
	return h, nil
}

// Close gives back the connections to the kernel. Networks stay as they are. Nothing
// may be called after it but Close, which does nothing then.
func (h *Host) Close() error {
	h.closed.Do(h.kernel.close)
	return nil
}

// kernel is what the kernel does for a Host.
type kernel interface {
	// inUse returns the ranges that addresses and routes of the host use, those of the
	// Host's own links left aside.
	inUse() (addresses, routes []netip.Prefix, err error)
	// uplinkMTU returns the MTU of the link that leads outside, or 0.
	uplinkMTU() int
	// isBridge reports whether there is a bridge of a name.
	isBridge(name string) (bool, error)
	// ensure makes and mends links and addresses of networks, and allows forwarding
	// where one needs it.
	ensure(networks []Network) error
	// apply makes the table of nftables be what the networks need.
	apply(networks []Network) error
	// links lists the links that are this folder's.
	links() ([]link, error)
	// remove removes a link of this folder by its name; none is no error.
	remove(name string) error
	attach(n Network, e Endpoint, t Target) error
	// join puts the link of an endpoint back on its bridge.
	join(name, bridge string) error
	close()
}

// changing takes the lock under which networks and rules are changed.
func (h *Host) changing(ctx context.Context) (*filelock.Lock, error) {
	return filelock.Acquire(ctx, filepath.Join(h.dir, "lock"), filelock.Exclusive)
}

// using takes the lock of a network. A network without a folder is NotFound.
func (h *Host) using(ctx context.Context, id string, mode filelock.Mode) (*filelock.Lock, error) {
	if !resource.IsID(id) {
		return nil, noNetwork(id)
	}
	lock, err := filelock.Acquire(ctx, h.in(id, "lock"), mode)
	if isAbsent(err) {
		return nil, noNetwork(id)
	}
	return lock, err
}

// in returns a path in the folder of a network.
func (h *Host) in(network string, elem ...string) string {
	return filepath.Join(append([]string{h.dir, "networks", network}, elem...)...)
}

func noNetwork(id string) error {
	return failed(errdefs.ErrNotFound, "", "no network has the ID %s", resource.Quote(id))
}

func checkPrefix(prefix string) string {
	if len(prefix) > 4 {
		return "must have at most four bytes"
	}
	for _, c := range prefix {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return fmt.Sprintf("must consist of a-z and 0-9, has %q", c)
		}
	}
	return ""
}

const private fs.FileMode = 0o600
