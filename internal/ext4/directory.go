package ext4

import (
	"context"
	"slices"
	"strings"
)

// entry is a name in a folder.
type entry struct {
	name  string
	inode uint32
}

// mostNames bounds how many names are held in memory: those of a folder and of all that
// it is in.
const mostNames = 1 << 22

// list reads the names in a folder, sorted. Those of the folder itself and of the one
// above are left out. An index, where there is one, looks like entries of no file. Room
// is how many there may be.
func (f *Filesystem) list(ctx context.Context, i *inode, room int) ([]entry, error) {
	var all []entry
	block := make([]byte, f.blockSize)
	err := f.extents(i, func(e extent) error {
		for n := range e.count {
			if err := ctx.Err(); err != nil {
				return err
			}
			if e.unwritten || int64(e.logical+n) >= i.size/f.blockSize {
				continue
			}
			if err := f.read(block, f.offset(e.start+n)); err != nil {
				return err
			}
			var err error
			if all, err = parseFolder(block, all); err != nil {
				return err
			}
			if len(all) > room {
				return unsupported("a folder and those that it is in have more than %d names", mostNames)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for n := 1; n < len(all); n++ {
		if all[n].name == all[n-1].name {
			return nil, corrupt("a folder has the name %q twice", all[n].name)
		}
	}
	return all, nil
}

// parseFolder appends the entries of a folder's block.
func parseFolder(b []byte, to []entry) ([]entry, error) {
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, corrupt("a folder's entry is cut off")
		}
		number, length, name := order.Uint32(b), int(order.Uint16(b[4:])), int(b[6])
		if length < 8 || length%4 != 0 || length > len(b) || name > length-8 {
			return nil, corrupt("a folder's entry has %d bytes", length)
		}
		if number != 0 {
			text := string(b[8:][:name])
			switch {
			case text == "." || text == "..":
			case text == "" || strings.ContainsAny(text, "/\x00"):
				return nil, corrupt("a folder has the name %q", text)
			default:
				to = append(to, entry{text, number})
			}
		}
		b = b[length:]
	}
	return to, nil
}
