//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import lv "libvirt.org/go/libvirt"

// lane is a connection of a session that makes one call at a time. It keeps the handle of
// the domain that it was used for last: libvirt goes by the UUID in it, and says of a
// domain that is gone what a look-up would say.
type lane struct {
	session *session
	conn    *lv.Connect
	id      string
	domain  *lv.Domain // nil for none
}

// lookUp returns the domain of an ID, which is the lane's: it is not to be freed. Its
// number and name are those of the time when it was looked up.
func (l *lane) lookUp(id string) (*lv.Domain, error) {
	if l.domain != nil && l.id == id {
		return l.domain, nil
	}
	d, err := l.conn.LookupDomainByUUIDString(id)
	if err == nil {
		l.keep(id, d)
	}
	return d, err
}

// keep takes over a handle of the domain of an ID.
func (l *lane) keep(id string, d *lv.Domain) {
	l.forget()
	l.id, l.domain = id, d
}

func (l *lane) forget() {
	if l.domain != nil {
		_ = l.domain.Free()
		l.domain = nil
	}
}

func (l *lane) close() {
	l.forget()
	_, _ = l.conn.Close()
}
