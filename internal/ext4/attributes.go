package ext4

import "strings"

const attributesMagic = 0xEA020000

// prefixes are what the names of attributes begin with, by number. Others are of the
// filesystem itself.
var prefixes = map[byte]string{
	1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.",
}

// attributesOf reads the extended attributes of a file, as Linux tells them.
func (f *Filesystem) attributesOf(i *inode) (map[string]string, error) {
	out := map[string]string{}
	if len(i.inner) >= 4 && order.Uint32(i.inner) == attributesMagic {
		if err := parseAttributes(i.inner[4:], i.inner[4:], out); err != nil {
			return nil, err
		}
	}
	if i.attributes == 0 {
		return out, nil
	}
	b := make([]byte, f.blockSize)
	if err := f.read(b, f.offset(i.attributes)); err != nil {
		return nil, err
	}
	if order.Uint32(b) != attributesMagic || order.Uint32(b[8:]) != 1 {
		return nil, corrupt("the attributes of the inode %d make no sense", i.number)
	}
	return out, parseAttributes(b[32:], b, out)
}

// parseAttributes reads entries, whose values are in a block.
func parseAttributes(b, values []byte, to map[string]string) error {
	for len(b) >= 4 && order.Uint32(b) != 0 {
		if len(b) < 16 {
			return corrupt("an attribute is cut off")
		}
		length := int(b[0])
		at, elsewhere, size := int(order.Uint16(b[2:])), order.Uint32(b[4:]), int64(order.Uint32(b[8:]))
		switch {
		case length > len(b)-16 || elsewhere == 0 && int64(at)+size > int64(len(values)):
			return corrupt("an attribute leads to what is outside of it")
		case elsewhere != 0:
			return unsupported("an attribute has an inode of its own")
		}
		if prefix, ok := prefixes[b[1]]; ok {
			name, value := prefix+string(b[16:][:length]), values[at:][:size]
			if strings.HasPrefix(name, "system.") {
				var err error
				if value, err = accessList(value); err != nil {
					return err
				}
			}
			to[name] = string(value)
		}
		b = b[min((16+length+3)&^3, len(b)):]
	}
	return nil
}

// accessList gives an access control list the form that Linux tells it in.
func accessList(b []byte) ([]byte, error) {
	if len(b) < 4 || order.Uint32(b) != 1 {
		return nil, corrupt("an access control list is of no known version")
	}
	out := order.AppendUint32(nil, 2)
	for b = b[4:]; len(b) > 0; {
		if len(b) < 4 {
			return nil, corrupt("an access control list is cut off")
		}
		tag, id, length := order.Uint16(b), ^uint32(0), 4
		if tag == 2 || tag == 8 { // of one user or group
			if len(b) < 8 {
				return nil, corrupt("an access control list is cut off")
			}
			id, length = order.Uint32(b[4:]), 8
		}
		out = order.AppendUint32(append(out, b[:4]...), id)
		b = b[length:]
	}
	return out, nil
}
