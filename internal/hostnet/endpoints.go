package hostnet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// EndpointSpec says what endpoint is wanted.
type EndpointSpec struct {
	// ID is a UUID that the caller has chosen. Required.
	ID string
	// Name and Aliases are the names in DNS, as network.EndpointSpec has them.
	Name    string
	Aliases []string
	// MAC and Addresses are fixed ones; what is not given is assigned.
	MAC       network.HardwareAddr
	Addresses []netip.Addr
	// Owner says whom the endpoint is for, and Data is the caller's own too.
	Owner string
	Data  []byte
	// Limits bound the rates of what is attached.
	Limits Limits
}

// Limits are rates in bytes a second; 0 is no limit.
type Limits struct {
	// Ingress is what the instance receives, Egress what it sends.
	Ingress int64 `json:"ingress,omitempty"`
	Egress  int64 `json:"egress,omitempty"`
}

// Endpoint is a place in a network, as its record says.
type Endpoint struct {
	ID      string               `json:"id"`
	Network string               `json:"network"`
	Name    string               `json:"name,omitempty"`
	Aliases []string             `json:"aliases,omitempty"`
	MAC     network.HardwareAddr `json:"mac"`
	// Addresses are one of each subnet, with its length, in the order of the subnets.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Owner     string         `json:"owner,omitempty"`
	Data      []byte         `json:"data,omitempty"`
	Limits    Limits         `json:"limits,omitzero"`
}

const endpointLock = ".lock"

func (s EndpointSpec) validate() error {
	var faults resource.Faults
	if !resource.IsID(s.ID) {
		faults.Add("id", "must be a UUID")
	}
	portable := network.EndpointSpec{Name: s.Name, Aliases: s.Aliases, MAC: s.MAC, Addresses: s.Addresses}
	faults.Under("", portable.Validate())
	for field, rate := range map[string]int64{"limits.ingress": s.Limits.Ingress, "limits.egress": s.Limits.Egress} {
		if rate < 0 {
			faults.Add(field, "must not be negative")
		}
	}
	if err := faults.Err(); err != nil {
		return failed(errdefs.ErrInvalidArgument, faults[0].Field, "%w", err)
	}
	return nil
}

// Reserve makes an endpoint, which has its MAC and addresses until it is released. An
// ID that exists is AlreadyExists. For addresses and the MAC see the errors of this
// package.
func (h *Host) Reserve(ctx context.Context, networkID string, spec EndpointSpec) (e Endpoint, err error) {
	if err := spec.validate(); err != nil {
		return e, err
	}
	lock, err := h.using(ctx, networkID, filelock.Shared)
	if err != nil {
		return e, err
	}
	defer lock.Release()
	n, err := h.Network(ctx, networkID)
	if err != nil {
		return e, err
	}
	e = Endpoint{
		ID: spec.ID, Network: n.ID, Name: spec.Name, Aliases: spec.Aliases,
		Owner: spec.Owner, Data: spec.Data, Limits: spec.Limits,
	}
	path := h.in(n.ID, "endpoints", e.ID)
	if _, err := os.Lstat(path); !isAbsent(err) {
		return Endpoint{}, errors.Join(err, failed(errdefs.ErrAlreadyExists, "id", "an endpoint with the ID %s exists", e.ID))
	}
	book := book{host: h, network: n}
	defer func() {
		if err != nil {
			err = errors.Join(err, book.giveBack())
			e = Endpoint{}
		}
	}()
	if e.Addresses, err = book.addresses(spec.Addresses); err != nil {
		return e, err
	}
	if e.MAC, err = book.mac(spec.MAC, e); err != nil {
		return e, err
	}
	h.step("claimed")
	if err := ctx.Err(); err != nil {
		return e, err
	}
	if err := create(path, e); isThere(err) {
		return e, failed(errdefs.ErrAlreadyExists, "id", "an endpoint with the ID %s exists", e.ID)
	} else if err != nil {
		return e, err
	}
	h.step("reserved")
	return e, nil
}

// Endpoint returns an endpoint of a network; NotFound if there is none.
func (h *Host) Endpoint(_ context.Context, networkID, id string) (Endpoint, error) {
	if !resource.IsID(networkID) || !resource.IsID(id) {
		return Endpoint{}, noEndpoint(id)
	}
	e, err := read[Endpoint](h.in(networkID, "endpoints", id))
	if isAbsent(err) {
		return e, noEndpoint(id)
	}
	return e, err
}

// Endpoints yields the endpoints of a network; none where there is no such network. An
// error is yielded once, last.
func (h *Host) Endpoints(ctx context.Context, networkID string) iter.Seq2[Endpoint, error] {
	return func(yield func(Endpoint, error) bool) {
		ids, err := h.endpointIDs(networkID)
		if err != nil {
			yield(Endpoint{}, err)
			return
		}
		for _, id := range ids {
			e, err := h.Endpoint(ctx, networkID, id)
			if errdefs.IsNotFound(err) {
				continue
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (h *Host) endpointIDs(networkID string) ([]string, error) {
	if !resource.IsID(networkID) {
		return nil, nil
	}
	names, err := namesIn(h.in(networkID, "endpoints"))
	ids := names[:0]
	for _, name := range names {
		if !strings.HasSuffix(name, endpointLock) {
			ids = append(ids, name)
		}
	}
	return ids, err
}

// Release detaches an endpoint and gives up its addresses and names. One that is gone
// is NotFound.
func (h *Host) Release(ctx context.Context, networkID, id string) error {
	return h.plugging(ctx, networkID, id, func(n Network, e Endpoint) error {
		if err := h.kernel.remove(h.endpointName(id)); err != nil {
			return err
		}
		h.step("detached")
		if err := unlink(h.in(networkID, "endpoints", id)); err != nil {
			return err
		}
		h.step("released")
		return h.freeOf(e)
	})
}

// freeOf gives back what an endpoint has.
func (h *Host) freeOf(e Endpoint) error {
	errs := []error{unlink(h.in(e.Network, "taken", macClaim(e.MAC)))}
	for _, a := range e.Addresses {
		errs = append(errs, unlink(h.in(e.Network, "taken", addressClaim(a.Addr()))))
	}
	return errors.Join(errs...)
}

// plugging does something with an endpoint while nobody else changes it or its network.
func (h *Host) plugging(ctx context.Context, networkID, id string, do func(Network, Endpoint) error) error {
	if !resource.IsID(id) {
		return noEndpoint(id)
	}
	shared, err := h.using(ctx, networkID, filelock.Shared)
	if err != nil {
		return err
	}
	defer shared.Release()
	n, err := h.Network(ctx, networkID)
	if err != nil {
		return err
	}
	own, err := filelock.Acquire(ctx, h.in(networkID, "endpoints", id+endpointLock), filelock.Exclusive)
	if err != nil {
		return err
	}
	defer own.Remove()
	e, err := h.Endpoint(ctx, networkID, id)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return do(n, e)
}

func noEndpoint(id string) error {
	return failed(errdefs.ErrNotFound, "", "no endpoint of the network has the ID %s", resource.Quote(id))
}

// at names a field of a list.
func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
