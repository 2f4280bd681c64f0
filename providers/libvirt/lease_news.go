package libvirt

import (
	"io"
	"sync"
)

// leaseFolder is where libvirt's helper of dnsmasq writes down what is leased; it
// replaces a file there for each address that is given or renewed.
const leaseFolder = "/var/lib/libvirt/dnsmasq"

// leaseNews tells those who wait for an address that one may have come. It watches as
// long as somebody waits.
type leaseNews struct {
	mu      sync.Mutex
	waits   map[chan struct{}]struct{}
	watch   io.Closer // nil where nothing can be watched
	watched sync.WaitGroup
}

// await returns a channel that is sent something when leases have changed, until stop
// is called. Where the folder cannot be watched, it is nil.
func (n *leaseNews) await(dir string) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waits) == 0 {
		n.waits = map[chan struct{}]struct{}{}
		if events, err := watchFolder(dir); err == nil {
			n.watch = events
			n.watched.Go(func() { n.listen(events) })
		}
	}
	n.waits[c] = struct{}{}
	if n.watch != nil {
		changed = c
	}
	return changed, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.waits, c)
		if len(n.waits) == 0 && n.watch != nil {
			_ = n.watch.Close()
			n.watch = nil
		}
	}
}

// listen passes events on until there are no more.
func (n *leaseNews) listen(events io.Reader) {
	for buffer := make([]byte, 4<<10); ; {
		if _, err := events.Read(buffer); err != nil {
			return
		}
		n.mu.Lock()
		for c := range n.waits {
			select {
			case c <- struct{}{}:
			default:
			}
		}
		n.mu.Unlock()
	}
}
