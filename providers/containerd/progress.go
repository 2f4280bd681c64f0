package containerd

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/univirt/univirt/resource"
)

// The phases of an operation on an image, and those that only a layer has.
const (
	phaseResolving   = "resolving"
	phaseVerifying   = "verifying"
	phaseDownloading = "downloading"
	phaseCopying     = "copying"
	phaseUnpacking   = "unpacking"
	phaseDone        = "done"

	phaseWaiting = "waiting"
	phaseExists  = "exists"
)

// progressInterval keeps reports to about ten a second.
const progressInterval = 100 * time.Millisecond

// progress gathers what an operation does and reports it from a goroutine of
// its own, so that a slow reader delays no download. A nil progress, for an
// operation whose caller wants no reports, takes everything and does nothing.
type progress struct {
	report resource.ProgressFunc
	stop   chan struct{}
	ended  chan struct{}

	mu    sync.Mutex
	state resource.Progress
	items map[digest.Digest]int
	// stream says that the bytes counted are those of a stream, and that items
	// only show phases.
	stream  bool
	changed bool
}

// newProgress begins reporting; the caller must finish it.
func newProgress(report resource.ProgressFunc, op string, ref resource.Ref, phase string) *progress {
	if report == nil {
		return nil
	}
	p := &progress{
		report:  report,
		stop:    make(chan struct{}),
		ended:   make(chan struct{}),
		state:   resource.Progress{Op: op, Ref: ref, Phase: phase},
		changed: true,
	}
	go p.run()
	return p
}

func (p *progress) run() {
	defer close(p.ended)
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		p.tell(false)
		select {
		case <-ticker.C:
		case <-p.stop:
			return
		}
	}
}

// tell reports, if there is anything new or if it must.
func (p *progress) tell(must bool) {
	p.mu.Lock()
	if !must && !p.changed {
		p.mu.Unlock()
		return
	}
	p.changed = false
	now := p.state
	now.Items = append([]resource.ProgressItem(nil), p.state.Items...)
	p.mu.Unlock()
	now.Time = time.Now()
	p.report(now)
}

// finish makes the last report and ends all others: once it has returned, none
// is under way. The operation's error says whether it is done.
func (p *progress) finish(err error) {
	if p == nil {
		return
	}
	close(p.stop)
	<-p.ended
	if err == nil {
		p.phase(phaseDone)
	}
	p.tell(true)
}

// phase says what the operation does now.
func (p *progress) phase(name string) {
	p.change(func() { p.state.Phase = name })
}

// ref says what the operation works on, once more of that is known.
func (p *progress) ref(ref resource.Ref) {
	p.change(func() { p.state.Ref = ref })
}

// bytes counts a stream, whose total may not be known.
func (p *progress) bytes(done, total int64) {
	p.change(func() {
		p.stream = true
		p.count(done, total)
	})
}

// layers says which layers the operation deals with, in the image's order. A
// layer that occurs twice is one item.
func (p *progress) layers(layers []ocispec.Descriptor) {
	p.change(func() {
		if p.items == nil {
			p.items = make(map[digest.Digest]int, len(layers))
		}
		for _, layer := range layers {
			if _, known := p.items[layer.Digest]; known {
				continue
			}
			p.items[layer.Digest] = len(p.state.Items)
			p.state.Items = append(p.state.Items, resource.ProgressItem{
				ID: layer.Digest.String(), Phase: phaseWaiting, Total: layer.Size,
			})
		}
		p.sum()
	})
}

// layer says what is being done with a layer.
func (p *progress) layer(id digest.Digest, phase string) {
	p.item(id, func(item *resource.ProgressItem) {
		// What was there already stays that, whatever else is found out of it.
		if item.Phase == phaseExists && phase == phaseDone {
			return
		}
		item.Phase = phase
		if phase == phaseExists || phase == phaseUnpacking || phase == phaseDone {
			item.Done = item.Total
		}
	})
}

// received counts bytes of a layer, up to which offset they are there.
func (p *progress) received(id digest.Digest, offset int64) {
	p.item(id, func(item *resource.ProgressItem) {
		item.Phase, item.Done = phaseDownloading, min(offset, item.Total)
	})
}

func (p *progress) item(id digest.Digest, f func(*resource.ProgressItem)) {
	p.change(func() {
		if i, known := p.items[id]; known {
			f(&p.state.Items[i])
			p.sum()
		}
	})
}

// sum adds the items up, with p.mu held.
func (p *progress) sum() {
	if p.stream {
		return
	}
	var done, total int64
	for _, item := range p.state.Items {
		done, total = saturate(done, item.Done), saturate(total, item.Total)
	}
	p.count(done, total)
}

// count takes new sums, with p.mu held. A download that begins anew does not
// take back what was told.
func (p *progress) count(done, total int64) {
	p.state.Done = max(p.state.Done, done)
	p.state.Total = total
	if total > 0 {
		p.state.Total = max(total, p.state.Done)
	}
}

func (p *progress) change(f func()) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed = true
}
