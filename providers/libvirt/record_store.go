//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/resource"
)

// records are the documents of one kind and namespace, in the provider's own pool.
//
// Nothing that is there is ever changed: libvirt makes a file with its content in
// one call, if there is none of its name. That is what makes names unique, and of
// two changes of one document lets one fail, on whatever hosts they are made.
type records struct {
	p    *Provider
	kind resource.Kind
}

// create makes the record of something new, and takes its name: AlreadyExists where
// somebody has it. The document's kind, namespace, revision and owner are set.
func (r records) create(ctx context.Context, d document) (document, error) {
	d.Kind, d.Namespace, d.Revision = r.kind, r.p.opts.Namespace, 1
	d.Owner, d.Home = r.p.owner, r.p.home
	if err := r.write(ctx, d, d.place().claim(), d.place().file()); err != nil {
		if errors.Is(err, errdefs.ErrAlreadyExists) {
			err = &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "name", Err: errors.New("is taken")}
		}
		return document{}, err
	}
	return d, nil
}

// revise writes the document as the revision after its own: Aborted where somebody
// was faster, NotFound where it is gone.
func (r records) revise(ctx context.Context, d document) (document, error) {
	before := d.Revision
	d = d.next()
	err := r.write(ctx, d, d.place().file())
	if errors.Is(err, errdefs.ErrAlreadyExists) {
		return document{}, errors.Join(errChanged(), r.mend(ctx, d.place()))
	}
	if err != nil {
		return document{}, err
	}
	if err := r.settle(ctx, before, d); err != nil {
		return document{}, err
	}
	return d, nil
}

// settle holds that a revision that was written is one, made of the revision before it.
// That its file could be made is not enough: there was another of this name if others
// wrote two since the document was read, who removed the first of them. Nor was there
// anything in the way if the record was removed. What is none is removed.
func (r records) settle(ctx context.Context, before int, d document) error {
	for n := 1; ; n++ {
		again, err := r.settleOnce(ctx, before, d, n == mostReads)
		if !again || err != nil {
			return err
		}
	}
}

// settleOnce also reports whether what is newer went while it was looked at. The last
// time that is no reason: libvirt may list a file that is not there.
func (r records) settleOnce(ctx context.Context, before int, d document, last bool) (again bool, _ error) {
	none := func(err error) error { return errors.Join(err, r.p.removeFile(ctx, r.p.opts.Pool, d.place().file())) }
	revisions, held, err := r.revisions(ctx, d)
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(revisions, func(p place) bool { return p.revision >= d.Revision })
	switch {
	case !held:
		return false, none(r.errNone())
	case at < 0:
		return false, errChanged() // somebody took it for one that its daemon did not finish
	}
	older, newer := revisions[:at], slices.DeleteFunc(slices.Clone(revisions[at:]), func(p place) bool { return p.revision == d.Revision })
	if len(newer) == 0 && !slices.ContainsFunc(older, func(p place) bool { return p.revision == before }) {
		return false, none(r.errNone())
	}
	if len(newer) > 0 {
		slices.Reverse(newer)
		now, gone, err := r.p.readNewest(ctx, newer)
		switch {
		case err != nil:
			return false, err
		case gone && !last:
			return true, nil
		case now.fault != nil:
			return false, unsure(now.fault)
		case now.ID == "" || now.follows(d):
			// What is newer is not whole yet, for which this one is there, or was made of it.
		case now.Revision-d.Revision >= mostAncestors:
			return false, unsure(resource.Errorf(errdefs.ErrUnknown, "the record was changed %d times meanwhile: whether this change is among them is not known", now.Revision-d.Revision))
		default:
			return false, none(errChanged())
		}
	}
	for _, p := range older {
		if err := r.p.removeFile(ctx, r.p.opts.Pool, p.file()); err != nil {
			r.p.opts.Logger.Debug("a record's former revision stays until the next change", "file", p.file(), "error", err)
			break
		}
	}
	return false, nil
}

// unsure says of an error that what it is of may have been done.
func unsure(err error) error {
	return &resource.Error{Kind: resource.KindOf(err), Err: err, Outcome: resource.OutcomeUnknown}
}

// revisions lists what there is of a record, the oldest first, and whether it has its
// name. They are removed in this order: an older one alone would be taken for the present
// one.
func (r records) revisions(ctx context.Context, d document) (mine []place, held bool, _ error) {
	files, err := r.p.filesIn(ctx, r.p.opts.Pool)
	if err != nil {
		return nil, false, err
	}
	others := false
	for _, file := range files {
		p, ok := parsePlace(file)
		switch {
		case !ok || p.claim() != d.place().claim():
		case p.id == "":
			held = true
		case p.id == d.ID:
			mine = append(mine, p)
		default:
			others = true
		}
	}
	if held && others {
		held, err = r.holds(ctx, d.place())
	}
	slices.SortFunc(mine, func(a, b place) int { return cmp.Compare(a.revision, b.revision) })
	return mine, held, err
}

// holds reports whether a record has its name.
func (r records) holds(ctx context.Context, at place) (bool, error) {
	data, err := onVolume(ctx, r.p, r.p.opts.Pool, at.claim(), func(c *lv.Connect, v *lv.StorageVol) ([]byte, error) {
		return get(c, v, mostDocument)
	})
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	holder, err := decodeDocument(data)
	return err != nil || holder.ID == at.id, nil
}

// mendAfter is how long a file that is not whole is waited for: libvirt copies some
// thousand bytes, in one call. What is not whole then has lost its daemon.
const mendAfter = time.Second

// mend removes a revision that a daemon did not live to finish.
func (r records) mend(ctx context.Context, at place) error {
	_, err := r.p.readDocument(ctx, at)
	if !errors.Is(err, errTorn) {
		return nil
	}
	timer := time.NewTimer(mendAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ended(ctx)
	}
	if _, err := r.p.readDocument(ctx, at); !errors.Is(err, errTorn) {
		return nil
	}
	return r.p.removeFile(ctx, r.p.opts.Pool, at.file())
}

func errChanged() error {
	return resource.Errorf(errdefs.ErrAborted, "it was changed by somebody else meanwhile")
}

// amend changes the document of an ID, whatever its phase, and again where somebody
// else does at the same time. A change that leaves everything as it is writes
// nothing.
func (r records) amend(ctx context.Context, id string, change func(document) (document, error)) (document, error) {
	for {
		before, err := r.load(ctx, id)
		if err != nil {
			return document{}, err
		}
		after, err := change(before)
		if err != nil {
			return document{}, err
		}
		if same(before, after) {
			return before, nil
		}
		after, err = r.revise(ctx, after)
		if !errors.Is(err, errdefs.ErrAborted) {
			return after, err
		}
	}
}

func same(a, b document) bool {
	one, err := a.encode()
	if err != nil {
		return false
	}
	other, err := b.encode()
	return err == nil && string(one) == string(other)
}

// remove removes the record of what is gone, its name last: then another can have
// it. Whoever removes it has said so before, in its last revision: there is one at a
// time. Doing it again is nil.
func (r records) remove(ctx context.Context, d document) error {
	revisions, _, err := r.revisions(ctx, d)
	if err != nil {
		return err
	}
	for _, p := range revisions {
		if err := r.p.removeFile(ctx, r.p.opts.Pool, p.file()); err != nil {
			return err
		}
	}
	return r.unclaim(ctx, d)
}

// unclaim gives a name back, where the document has it.
func (r records) unclaim(ctx context.Context, d document) error {
	_, err := onVolume(ctx, r.p, r.p.opts.Pool, d.place().claim(), func(c *lv.Connect, v *lv.StorageVol) (struct{}, error) {
		data, err := get(c, v, mostDocument)
		if err != nil {
			return struct{}{}, err
		}
		if holder, err := decodeDocument(data); err != nil || holder.ID != d.ID {
			return struct{}{}, nil
		}
		return struct{}{}, v.Delete(lv.STORAGE_VOL_DELETE_NORMAL)
	})
	if isNotFound(err) {
		return nil
	}
	return err
}

// write makes files with the document in them: all or, where one is there, the ones
// before it. The content lies in a draft first, since libvirt makes a file with
// content in one call only where it copies one.
func (r records) write(ctx context.Context, d document, files ...string) error {
	data, err := d.encode()
	if err != nil {
		return err
	}
	name := draft{id: d.ID, home: r.p.home, maker: r.p.owner.Generation}.file()
	if err := changes(ctx); err != nil {
		return err
	}
	_, err = onPool(ctx, r.p, r.p.opts.Pool, func(c *lv.Connect, pool *lv.StoragePool) (_ struct{}, err error) {
		source, err := makeFile(pool, rawFile(name, int64(len(data))), nil)
		if err != nil {
			return struct{}{}, err
		}
		defer source.Free()
		defer func() { err = errors.Join(err, source.Delete(lv.STORAGE_VOL_DELETE_NORMAL)) }()
		if err := put(c, source, data); err != nil {
			return struct{}{}, err
		}
		for _, file := range files {
			made, err := makeFile(pool, rawFile(file, int64(len(data))), source)
			if err != nil {
				return struct{}{}, err
			}
			_ = made.Free()
		}
		return struct{}{}, nil
	})
	return err
}

// rawFile describes a file that root alone can read.
func rawFile(name string, size int64) libvirtxml.StorageVolume {
	bytes := func() *libvirtxml.StorageVolumeSize {
		return &libvirtxml.StorageVolumeSize{Unit: "bytes", Value: uint64(size)}
	}
	return libvirtxml.StorageVolume{
		Name: name, Capacity: bytes(), Allocation: bytes(),
		Target: &libvirtxml.StorageVolumeTarget{
			Format:      &libvirtxml.StorageVolumeTargetFormat{Type: "raw"},
			Permissions: &libvirtxml.StorageVolumeTargetPermissions{Mode: "0600"},
		},
	}
}

// makeFile makes a file in a pool, with the content of another where there is one.
// A name that is taken is AlreadyExists, also where libvirt does not know of the
// file: another host may have made it.
func makeFile(pool *lv.StoragePool, description libvirtxml.StorageVolume, from *lv.StorageVol) (*lv.StorageVol, error) {
	text, err := description.Marshal()
	if err != nil {
		return nil, err
	}
	if from == nil {
		return pool.StorageVolCreateXML(text, 0)
	}
	return pool.StorageVolCreateXMLFrom(text, from, 0)
}
