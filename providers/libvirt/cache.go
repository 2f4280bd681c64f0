//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"maps"
	"sync"
)

// cache keeps what was read of all domains, as long as events tell of every change:
// of the changes of this process as soon as they are made, and of others' when
// libvirt tells of them. What it hands out is not to be changed.
type cache struct {
	mu sync.Mutex
	// era counts the times that events were lost.
	era int
	// whole says that all domains have an entry.
	whole   bool
	entries map[string]entry
}

// entry is a domain, or nil where it must be read again. The version is another
// after each change.
type entry struct {
	version int
	domain  *domain
}

// moment is when a read began: what changes after it is not what was read.
type moment struct {
	era      int
	versions map[string]int
}

// now returns the moment for a read of all domains.
func (c *cache) now() moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	versions := make(map[string]int, len(c.entries))
	for id, e := range c.entries {
		versions[id] = e.version
	}
	return moment{c.era, versions}
}

// changed notes that a domain was made, changed or removed.
func (c *cache) changed(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[string]entry)
	}
	c.entries[id] = entry{version: c.entries[id].version + 1}
}

// lose notes that changes may be missed from now on.
func (c *cache) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.era++
	c.whole, c.entries = false, nil
}

// fill keeps all domains as they were read.
func (c *cache) fill(all []*domain, since moment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.era != since.era {
		return
	}
	there := make(map[string]bool, len(all))
	for _, d := range all {
		there[d.id] = true
		c.keep(d, since.versions[d.id])
	}
	maps.DeleteFunc(c.entries, func(id string, e entry) bool { return !there[id] && e.version == since.versions[id] })
	c.whole = true
}

func (c *cache) keep(d *domain, version int) {
	if c.entries == nil {
		c.entries = make(map[string]entry)
	}
	if e := c.entries[d.id]; e.version == version {
		c.entries[d.id] = entry{version, d}
	}
}

// put keeps one domain as it was read again; nil is one that is there no more.
func (c *cache) put(id string, d *domain, since moment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.era != since.era:
	case d != nil:
		c.keep(d, since.versions[id])
	case c.entries[id].version == since.versions[id]:
		delete(c.entries, id)
	}
}

// all returns the domains that are known and the IDs of those that must be read. It
// is false where nothing is known for sure.
func (c *cache) all() (known []*domain, unknown []string, since moment, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.whole {
		return nil, nil, moment{}, false
	}
	since = moment{era: c.era, versions: make(map[string]int)}
	known = make([]*domain, 0, len(c.entries))
	for id, e := range c.entries {
		if e.domain != nil {
			known = append(known, e.domain)
			continue
		}
		unknown = append(unknown, id)
		since.versions[id] = e.version
	}
	return known, unknown, since, true
}

// caches are those of all open values of this process, by the URI: they see each
// other's changes at once.
var caches struct {
	mu    sync.Mutex
	byURI map[string]map[*cache]struct{}
}

func (p *Provider) joinCaches() {
	caches.mu.Lock()
	defer caches.mu.Unlock()
	if caches.byURI == nil {
		caches.byURI = make(map[string]map[*cache]struct{})
	}
	if caches.byURI[p.opts.URI] == nil {
		caches.byURI[p.opts.URI] = make(map[*cache]struct{})
	}
	caches.byURI[p.opts.URI][&p.cache] = struct{}{}
}

func (p *Provider) leaveCaches() {
	caches.mu.Lock()
	defer caches.mu.Unlock()
	delete(caches.byURI[p.opts.URI], &p.cache)
	if len(caches.byURI[p.opts.URI]) == 0 {
		delete(caches.byURI, p.opts.URI)
	}
}

// changed notes that this process has changed a domain, or may have.
func (p *Provider) changed(id string) {
	caches.mu.Lock()
	defer caches.mu.Unlock()
	for c := range caches.byURI[p.opts.URI] {
		c.changed(id)
	}
}
