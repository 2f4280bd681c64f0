//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/resource"
)

// shelf keeps what was read of documents by the names of their files, of which the
// content never changes.
type shelf struct {
	mu   sync.Mutex
	read map[string]document
}

func (s *shelf) find(file string) (document, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.read[file]
	return d, ok
}

func (s *shelf) keep(file string, d document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read == nil {
		s.read = map[string]document{}
	}
	s.read[file] = d
}

// forget drops what is not there any more.
func (s *shelf) forget(there []string) {
	known := make(map[string]bool, len(there))
	for _, file := range there {
		known[file] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.read, func(file string, _ document) bool { return !known[file] })
}

// find returns the document of an ID or a name, if it is anybody's to see. One that
// cannot be read is an error.
func (r records) find(ctx context.Context, idOrName string) (document, error) {
	d, err := r.load(ctx, idOrName)
	if err == nil && d.hidden() {
		err = r.errNone()
	}
	return d, err
}

// load is find in any phase.
func (r records) load(ctx context.Context, idOrName string) (document, error) {
	key := keyOf(idOrName)
	found, err := r.read(ctx, func(p place) bool { return p.id == idOrName || p.key == key })
	if err != nil {
		return document{}, err
	}
	if len(found) == 0 {
		return document{}, r.errNone()
	}
	d := found[0]
	return d, d.fault
}

func (r records) errNone() error {
	return resource.Errorf(errdefs.ErrNotFound, "no such %s", r.kind)
}

// list returns all documents in any phase. Of one that cannot be read it has what its
// file's name says, and the fault.
func (r records) list(ctx context.Context) ([]document, error) {
	return r.read(ctx, func(place) bool { return true })
}

// read returns the newest whole revision of each document that is wanted, in two
// rounds of calls: one where nothing is new, and more where revisions go meanwhile,
// which others may have replaced.
func (r records) read(ctx context.Context, want func(place) bool) ([]document, error) {
	for n := 1; ; n++ {
		out, again, err := r.readOnce(ctx, want)
		if !again || err != nil || n == mostReads {
			return out, err
		}
	}
}

// mostReads bounds how often what goes is looked for anew: libvirt may list a file that
// somebody has removed without it.
const mostReads = 5

// readOnce also reports whether there was nothing left of a document that was listed.
func (r records) readOnce(ctx context.Context, want func(place) bool) (_ []document, again bool, _ error) {
	files, err := r.p.filesIn(ctx, r.p.opts.Pool)
	if err != nil {
		return nil, false, err
	}
	r.p.shelf.forget(files)
	revisions, claims := map[string][]place{}, map[string]map[string]bool{}
	for _, file := range files {
		p, ok := parsePlace(file)
		if !ok || p.kind != r.kind || p.namespace != r.p.opts.Namespace {
			continue
		}
		if claims[p.claim()] == nil {
			claims[p.claim()] = map[string]bool{}
		}
		claims[p.claim()][p.id] = true
		if p.id != "" && want(p) {
			revisions[p.id] = append(revisions[p.id], p)
		}
	}
	// A record without its name is one that was removed while somebody changed it.
	for id, all := range revisions {
		switch sharers := claims[all[0].claim()]; {
		case !sharers[""]:
			delete(revisions, id)
		case len(sharers) > 2:
			held, err := r.holds(ctx, all[0])
			if err != nil {
				return nil, false, err
			}
			if !held {
				delete(revisions, id)
			}
		}
	}
	newest := make([][]place, 0, len(revisions))
	for _, all := range revisions {
		slices.SortFunc(all, func(a, b place) int { return b.revision - a.revision })
		newest = append(newest, all)
	}
	out := make([]document, len(newest))
	gone := make([]bool, len(newest))
	errs := make([]error, len(newest))
	// As many at once as there are connections for calls.
	var readers sync.WaitGroup
	for n := range min(atOnce, len(newest)) {
		readers.Go(func() {
			for i := n; i < len(newest); i += atOnce {
				out[i], gone[i], errs[i] = r.p.readNewest(ctx, newest[i])
			}
		})
	}
	readers.Wait()
	if failed := slices.IndexFunc(errs, func(err error) bool { return err != nil }); failed >= 0 {
		return nil, false, errs[failed]
	}
	out = slices.DeleteFunc(out, func(d document) bool { return d.ID == "" })
	slices.SortFunc(out, func(a, b document) int { return strings.Compare(a.ID, b.ID) })
	return out, slices.Contains(gone, true), nil
}

// claimed returns the documents of names that are taken, of which there is no record:
// their makers have got no further, or are about to, or somebody has removed all but
// the name. And it returns, as being removed, records without a name, which somebody has
// changed while they were removed. It is for finding what is left over.
func (r records) claimed(ctx context.Context) ([]document, error) {
	files, err := r.p.filesIn(ctx, r.p.opts.Pool)
	if err != nil {
		return nil, err
	}
	recorded, drafted, claims := map[string][]place{}, map[string]bool{}, []place{}
	for _, file := range files {
		if draft, ok := parseDraft(file); ok {
			drafted[draft.id] = true
			continue
		}
		p, ok := parsePlace(file)
		switch {
		case !ok || p.kind != r.kind || p.namespace != r.p.opts.Namespace:
		case p.id == "":
			claims = append(claims, p)
		default:
			recorded[p.claim()] = append(recorded[p.claim()], p)
		}
	}
	var out []document
	for _, p := range claims {
		if len(recorded[p.claim()]) > 0 {
			delete(recorded, p.claim())
			continue
		}
		data, err := onVolume(ctx, r.p, r.p.opts.Pool, p.claim(), func(c *lv.Connect, v *lv.StorageVol) ([]byte, error) {
			return get(c, v, mostDocument)
		})
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		d, err := decodeDocument(data)
		if err != nil {
			d = document{Kind: p.kind, Namespace: p.namespace, fault: err}
		}
		if d.Home == r.p.home && !drafted[d.ID] {
			// Who makes a record has a draft of it until it is there: this one was, and its
			// maker, who may live, has nothing to do with it any more.
			d.Maker = ""
		}
		out = append(out, d)
	}
	for _, nameless := range recorded {
		for _, at := range nameless {
			d, err := r.p.readDocument(ctx, at)
			if isNotFound(err) || errors.Is(err, errTorn) {
				continue
			}
			if err != nil {
				return nil, err
			}
			d.Phase, d.Maker, d.Until = removing, "", time.Time{}
			out = append(out, d)
		}
	}
	return out, nil
}

// readNewest reads the first revision that is there and whole, if there is one, and
// reports whether all are gone.
func (p *Provider) readNewest(ctx context.Context, revisions []place) (_ document, gone bool, _ error) {
	gone = true
	for _, at := range revisions {
		d, err := p.readDocument(ctx, at)
		switch {
		case errors.Is(err, errTorn):
			gone = false
		case !isNotFound(err):
			return d, false, err
		}
	}
	return document{}, gone, nil
}

// readDocument reads a file. What cannot be read is told by the document's fault.
func (p *Provider) readDocument(ctx context.Context, at place) (document, error) {
	if d, ok := p.shelf.find(at.file()); ok {
		return d, nil
	}
	data, err := onVolume(ctx, p, p.opts.Pool, at.file(), func(c *lv.Connect, v *lv.StorageVol) ([]byte, error) {
		return get(c, v, mostDocument)
	})
	if errors.Is(err, errdefs.ErrAborted) {
		return document{}, errTorn // it is being made
	}
	if err != nil {
		return document{}, err
	}
	d, err := decodeDocument(data)
	if errors.Is(err, errTorn) {
		return document{}, err
	}
	if err == nil {
		d, err = d.at(at)
	}
	if err != nil {
		d = document{Kind: at.kind, Namespace: at.namespace, ID: at.id, Revision: at.revision, fault: err}
		if resource.CheckName(at.key) == "" {
			d.Name = at.key
		}
	}
	p.shelf.keep(at.file(), d)
	return d, nil
}
