package resource

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// MaxNameLength is the longest name a resource may have, in bytes: that of a
// DNS label (RFC 1035, section 2.3.4).
const MaxNameLength = 63

// CheckName says what is wrong with a resource's name, or returns "". A name
// is a DNS label as RFC 1123 has it: lower-case letters, digits and hyphens,
// beginning and ending with a letter or a digit, at most [MaxNameLength] bytes.
// A name of the shape of an ID is refused, so that Get can take either.
func CheckName(name string) string {
	if reason := checkLabel(name); reason != "" {
		return reason
	}
	if IsID(name) {
		return "must not have the shape of an ID"
	}
	return ""
}

// CheckNamespace says what is wrong with a namespace's name, or returns "". Its
// grammar is that of a resource's name.
func CheckNamespace(name string) string { return checkLabel(name) }

func checkLabel(name string) string {
	switch {
	case name == "":
		return "must not be empty"
	case len(name) > MaxNameLength:
		return fmt.Sprintf("must have at most %d bytes, has %d", MaxNameLength, len(name))
	}
	for i := range len(name) {
		c := name[i]
		edge := i == 0 || i == len(name)-1
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '-' && !edge:
		case c == '-':
			return "must begin and end with a letter or a digit"
		default:
			return "must consist of a-z, 0-9 and '-', has " + strconv.QuoteToASCII(clip(name[i:], 1))
		}
	}
	return ""
}

// NewID returns a new random identity: a UUID of version 4 (RFC 9562) in its
// lower-case text form.
func NewID() string {
	// crypto/rand never fails: it ends the program where the system has no
	// randomness to give.
	id, _ := NewIDFrom(rand.Reader)
	return id
}

// NewIDFrom returns an identity made of 16 bytes read from r. It exists for
// providers whose identities must be reproducible, as a test's are.
func NewIDFrom(r io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", err
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var s [36]byte
	hex.Encode(s[0:8], b[0:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:36], b[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:]), nil
}

// IsID reports whether s has the shape of an identity: a UUID's lower-case
// text form, of any version.
func IsID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

// Quote renders text from outside so that it cannot disturb a message: in
// quotation marks, with control characters and invalid UTF-8 escaped, and cut
// where it is long.
func Quote(s string) string {
	const most = 128
	if len(s) > most {
		return strconv.Quote(clip(s, most)) + "..."
	}
	return strconv.Quote(s)
}

// plain returns text that is part of a path as it is, where it consists of
// visible ASCII that has no meaning in a path, and quoted otherwise.
func plain(s string) string {
	// The longest key of a label has 253 + 1 + 63 bytes.
	if s != "" && len(s) <= 317 && strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`[]()"`, r)
	}) < 0 {
		return s
	}
	return Quote(s)
}

// clip returns the first n characters' worth of s, without cutting one in two.
func clip(s string, n int) string {
	count := 0
	for i := range s {
		if count == n {
			return s[:i]
		}
		count++
	}
	return s
}
