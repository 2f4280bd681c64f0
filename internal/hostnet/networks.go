package hostnet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// cleanup bounds what is undone after a caller has given up.
const cleanup = 10 * time.Second

// Create makes a network and returns it with what was chosen. An ID or name that
// exists is AlreadyExists, as is a subnet that another network or the host has. One
// that fails or is cancelled has been undone when it returns.
func (h *Host) Create(ctx context.Context, spec NetworkSpec) (n Network, err error) {
	if err := spec.validate(); err != nil {
		return n, err
	}
	changing, err := h.changing(ctx)
	if err != nil {
		return n, err
	}
	defer changing.Release()
	others, err := h.all()
	if err != nil {
		return n, err
	}
	if n, err = h.plan(spec, others); err != nil {
		return n, err
	}
	// A folder without a record is what a dead one left, as the lock is held.
	if _, err := os.Lstat(h.in(n.ID, "record")); !isAbsent(err) {
		return n, failed(errdefs.ErrAlreadyExists, "id", "a network with the ID %s exists", n.ID)
	}
	if err := os.MkdirAll(h.in(n.ID, "endpoints"), 0o700); err != nil {
		return n, err
	}
	if err := os.MkdirAll(h.in(n.ID, "taken"), 0o700); err != nil {
		return n, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.undo(ctx, n))
		}
	}()
	if err := h.claimName(n); err != nil {
		return n, err
	}
	h.step("named")
	if err := create(h.in(n.ID, "record"), n); err != nil {
		return n, err
	}
	h.step("recorded")
	// The rules come first, so that no packet goes where it may not.
	if err := h.kernel.apply(append(others, n)); err != nil {
		return n, err
	}
	h.step("ruled")
	if err := h.kernel.ensure([]Network{n}); err != nil {
		return n, err
	}
	if err := ctx.Err(); err != nil {
		return n, err
	}
	h.step("linked")
	n.Stage = ""
	return n, replace(h.in(n.ID, "record"), n)
}

// undo removes what a Create has made. The lock for changes is held.
func (h *Host) undo(ctx context.Context, n Network) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	lock, err := h.using(ctx, n.ID, filelock.Exclusive)
	if err != nil {
		return err
	}
	return h.erase(n, lock)
}

// plan makes the record of a network in the making.
func (h *Host) plan(spec NetworkSpec, others []Network) (Network, error) {
	n := Network{
		ID: spec.ID, Namespace: spec.Namespace, Name: spec.Name, Data: spec.Data,
		External: spec.External, Bridge: spec.Bridge, MTU: spec.MTU,
		Created: time.Now().UTC(), Revision: 1, Stage: creating,
	}
	if n.External == "" {
		n.External = network.Isolated
	}
	if n.MTU == 0 {
		n.MTU = 1500
		if up := h.kernel.uplinkMTU(); up > 0 {
			n.MTU = min(n.MTU, max(up, 1280))
		}
	}
	if n.Joined() {
		is, err := h.kernel.isBridge(n.Bridge)
		if err != nil {
			return n, err
		}
		if !is {
			return n, failed(errdefs.ErrInvalidArgument, "bridge", "there is no bridge %s", resource.Quote(n.Bridge))
		}
	} else {
		n.Bridge = h.bridgeName(n.ID)
	}
	err := h.planSubnets(&n, spec, others)
	return n, err
}

// Network returns the network of an ID; NotFound if there is none that is whole.
func (h *Host) Network(_ context.Context, id string) (Network, error) {
	n, err := h.record(id)
	if err == nil && n.Stage != "" {
		return Network{}, noNetwork(id)
	}
	return n, err
}

// record reads the record of a network, whole or not.
func (h *Host) record(id string) (Network, error) {
	if !resource.IsID(id) {
		return Network{}, noNetwork(id)
	}
	n, err := read[Network](h.in(id, "record"))
	if isAbsent(err) {
		return n, noNetwork(id)
	}
	return n, err
}

// Named returns the network of a name; NotFound if there is none.
func (h *Host) Named(ctx context.Context, namespace, name string) (Network, error) {
	id, err := os.ReadFile(h.namePath(namespace, name))
	if err == nil {
		n, err := h.Network(ctx, string(id))
		if !errdefs.IsNotFound(err) {
			return n, err
		}
	} else if !isAbsent(err) {
		return Network{}, err
	}
	return Network{}, failed(errdefs.ErrNotFound, "", "no network has the name %s", resource.Quote(name))
}

// Networks yields the networks that are whole. An error is yielded once, last.
func (h *Host) Networks(ctx context.Context) iter.Seq2[Network, error] {
	return func(yield func(Network, error) bool) {
		ids, err := namesIn(filepath.Join(h.dir, "networks"))
		if err != nil {
			yield(Network{}, err)
			return
		}
		for _, id := range ids {
			n, err := h.Network(ctx, id)
			if errdefs.IsNotFound(err) {
				continue
			}
			if !yield(n, err) || err != nil {
				return
			}
		}
	}
}

// all reads all records of networks. One that cannot be read fails it: nothing may be
// computed of the others alone.
func (h *Host) all() ([]Network, error) {
	ids, err := namesIn(filepath.Join(h.dir, "networks"))
	if err != nil {
		return nil, err
	}
	var out []Network
	for _, id := range ids {
		n, err := h.record(id)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// Update replaces the caller's data. Where revision is not 0 and not the network's it
// is Aborted.
func (h *Host) Update(ctx context.Context, id string, data []byte, revision int) (Network, error) {
	lock, err := h.using(ctx, id, filelock.Exclusive)
	if err != nil {
		return Network{}, err
	}
	defer lock.Release()
	n, err := h.Network(ctx, id)
	if err != nil {
		return n, err
	}
	if revision != 0 && revision != n.Revision {
		return n, failed(errdefs.ErrAborted, "ifRevision", "the network has changed: %d is now %d", revision, n.Revision)
	}
	n.Data, n.Revision = data, n.Revision+1
	return n, replace(h.in(id, "record"), n)
}

// Delete removes a network. One with endpoints is FailedPrecondition and stays. It is
// not undone: what a lost one leaves, Sweep or another Delete takes.
func (h *Host) Delete(ctx context.Context, id string) error {
	changing, err := h.changing(ctx)
	if err != nil {
		return err
	}
	defer changing.Release()
	lock, err := h.using(ctx, id, filelock.Exclusive)
	if err != nil {
		return err
	}
	n, err := h.record(id)
	if errdefs.IsNotFound(err) {
		// The lock has made a file in a folder that a dead one left.
		lock.Release()
		return err
	}
	var has []string
	if err == nil {
		has, err = h.endpointIDs(id)
	}
	if err == nil && len(has) > 0 {
		err = failed(errdefs.ErrFailedPrecondition, "", "the network has %d endpoints", len(has))
	}
	if err != nil {
		lock.Release()
		return err
	}
	return h.erase(n, lock)
}

// erase removes all of a network, the record last but for its folder, whose lock is
// held and given back. The lock for changes is held. In a link or table of somebody else
// there is nothing of ours to remove.
func (h *Host) erase(n Network, lock *filelock.Lock) (err error) {
	gone := false
	defer func() {
		if gone {
			lock.Remove()
			err = unlink(h.in(n.ID))
		} else {
			lock.Release()
		}
	}()
	n.Stage = deleting
	recorded := true
	switch _, err := os.Lstat(h.in(n.ID, "record")); {
	case isAbsent(err):
		recorded = false
	case err != nil:
		return err
	default:
		if err := replace(h.in(n.ID, "record"), n); err != nil {
			return err
		}
	}
	h.step("marked")
	if !n.Joined() && n.Bridge != "" {
		if err := h.kernel.remove(n.Bridge); err != nil && !errors.Is(err, ErrForeign) {
			return err
		}
	}
	h.step("unlinked")
	if recorded {
		others, err := h.all()
		if err != nil {
			return err
		}
		var rest []Network
		for _, o := range others {
			if o.ID != n.ID {
				rest = append(rest, o)
			}
		}
		if err := h.kernel.apply(rest); err != nil && !errors.Is(err, ErrForeign) {
			return err
		}
	}
	h.step("unruled")
	if err := h.releaseName(n); err != nil {
		return err
	}
	h.step("unnamed")
	entries, err := os.ReadDir(h.in(n.ID))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != "record" && e.Name() != "lock" {
			if err := os.RemoveAll(h.in(n.ID, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unlink(h.in(n.ID, "record")); err != nil {
		return err
	}
	h.step("unrecorded")
	gone = true
	return nil
}

// namePath is the file that only one network can have.
func (h *Host) namePath(namespace, name string) string {
	sum := sha256.Sum256([]byte(namespace + "\x00" + name))
	return filepath.Join(h.dir, "names", hex.EncodeToString(sum[:16]))
}

func (h *Host) claimName(n Network) error {
	if n.Name == "" {
		return nil
	}
	path := h.namePath(n.Namespace, n.Name)
	for {
		err := writeWhole(path, []byte(n.ID), os.Link)
		if !isThere(err) {
			return err
		}
		id, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// The lock for changes is held: a name without a network is a dead one's.
		if _, err := os.Lstat(h.in(strings.TrimSpace(string(id)), "record")); !isAbsent(err) {
			return failed(errdefs.ErrAlreadyExists, "name", "the network %s exists", resource.Quote(n.Name))
		}
		if err := unlink(path); err != nil {
			return err
		}
	}
}

// releaseName gives a network's name back, if it is the network's.
func (h *Host) releaseName(n Network) error {
	path := h.namePath(n.Namespace, n.Name)
	id, err := os.ReadFile(path)
	if isAbsent(err) || err == nil && string(id) != n.ID {
		return nil
	}
	return errors.Join(err, unlink(path))
}
