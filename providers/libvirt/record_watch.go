//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"maps"
	"time"

	"github.com/univirt/univirt/internal/watching"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// tellRecord tells those who watch of something that this value has made or changed.
func (p *Provider) tellRecord(d document, labels resource.Labels, reason string) {
	p.board.Change(func(picture *watching.Picture) { picture.Set(subjectOf(d, labels), reason, time.Now().UTC()) })
}

func subjectOf(d document, labels resource.Labels) *watching.Subject {
	return &watching.Subject{Ref: d.ref(), Managed: true, Names: []string{d.Name}, Labels: labels}
}

// tellGone tells them that it is gone.
func (p *Provider) tellGone(ref resource.Ref) {
	p.board.Change(func(picture *watching.Picture) {
		picture.Remove(watching.Key{Kind: ref.Kind, ID: ref.ID}, time.Now().UTC())
	})
}

// refreshRecords brings the picture of volumes and networks to what others have made
// of them: libvirt tells of no change of a pool's files.
func (p *Provider) refreshRecords(ctx context.Context) error {
	if p.inProcess() {
		return nil
	}
	for kind, labels := range map[resource.Kind]func(document) (resource.Labels, error){
		resource.KindVolume: func(d document) (resource.Labels, error) {
			facts, err := readVolume(d)
			return facts.spec.Labels, err
		},
		resource.KindNetwork: func(d document) (resource.Labels, error) {
			spec, err := network.Decode(d.Spec)
			return spec.Labels, err
		},
	} {
		if err := p.refreshKind(ctx, kind, labels); err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) refreshKind(ctx context.Context, kind resource.Kind, labelsOf func(document) (resource.Labels, error)) error {
	r := records{p, kind}
	docs, err := r.list(ctx)
	if err != nil {
		return err
	}
	there, at := map[string]bool{}, time.Now().UTC()
	var known []*watching.Subject
	p.board.Change(func(picture *watching.Picture) {
		for _, d := range docs {
			labels, err := labelsOf(d)
			if d.hidden() || err != nil {
				continue
			}
			there[d.ID] = true
			s := subjectOf(d, labels)
			switch before := picture.Get(s.Key()); {
			case before == nil:
				picture.Set(s, resource.ReasonCreate, at)
			case !maps.Equal(before.Labels, s.Labels):
				picture.Set(s, resource.ReasonUpdate, at)
			}
		}
		known = picture.All()
	})
	for _, s := range known {
		if s.Ref.Kind != kind || there[s.Ref.ID] {
			continue
		}
		// It may have been made since.
		if _, err := r.find(ctx, s.Ref.ID); isNotFound(err) {
			p.tellGone(s.Ref)
		} else if err != nil {
			return err
		}
	}
	return nil
}
