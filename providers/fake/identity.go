package fake

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strconv"

	"github.com/univirt/univirt/resource"
)

// identities makes what must be unique and yet the same in every run of a test.
// An identity depends on the seed, on what it is for, and on how many there were
// of the same before, not on the order of unrelated calls: so a test whose
// goroutines race still sees the same ones. What is chosen from few, such as an
// address, only begins with one: there the first to come has the first choice.
type identities struct {
	seed uint64
	// births counts by a hash of what an identity is for. Names are not kept: a
	// clash of hashes only skips a number.
	births map[uint64]uint32
}

// next returns 32 bytes that are never given out again.
func (i *identities) next(kind, namespace, name string) [32]byte {
	var buf [160]byte
	text := binary.LittleEndian.AppendUint64(buf[:0], i.seed)
	text = append(text, kind...)
	text = append(text, 0)
	text = append(text, namespace...)
	text = append(text, 0)
	text = append(text, name...)
	sum := sha256.Sum256(text)
	key := binary.LittleEndian.Uint64(sum[:])
	n := i.births[key]
	if i.births == nil {
		i.births = make(map[uint64]uint32)
	}
	i.births[key] = n + 1
	if n > 0 {
		text = binary.LittleEndian.AppendUint32(append(text, 0), n)
		sum = sha256.Sum256(text)
	}
	return sum
}

// newID returns the identity of a new resource. The backend is locked.
func (b *Backend) newID(kind resource.Kind, namespace, name string) string {
	sum := b.identities.next(string(kind), namespace, name)
	id, _ := resource.NewIDFrom(bytes.NewReader(sum[:16]))
	return id
}

// newToken returns a short word that is unique for what it is for, such as a
// generation. The backend is locked.
func (b *Backend) newToken(what, namespace, name string) uint64 {
	sum := b.identities.next(what, namespace, name)
	return binary.LittleEndian.Uint64(sum[:8])
}

// nobody is the owner of what has none.
var nobody = &resource.Owner{}

// runToken names a run of an instance.
func runToken(id string, number int) string { return id[:8] + "-" + strconv.Itoa(number) }
