package daemon

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMountPoint(t *testing.T) {
	for line, want := range map[string]string{
		`36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`: "/mnt2",
		`36 35 98:0 / /a\040b rw - ext3 /dev/root rw`:                    "/a b",
		`36 35 98:0 / /\011\012\134040 rw - ext3 x rw`:                   "/\t\n\\040",
		`36 35 98:0 / /\377 rw - ext3 x rw`:                              "/\xff",
		`36 35 98:0 / /\400\08 rw - ext3 x rw`:                           `/\400\08`,
		`36 35 98:0 / /a\04 rw - ext3 x rw`:                              `/a\04`,
	} {
		got, ok := mountPoint(line)
		assert.True(t, ok, line)
		assert.Equal(t, want, got, line)
	}
	for _, line := range []string{"", "36 35 98:0 / /a"} {
		_, ok := mountPoint(line)
		assert.False(t, ok, line)
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add(`/a\040b`)
	f.Add(`\`)
	f.Add(`\777`)
	// What the kernel escapes must come back as it was.
	escape := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)
	f.Fuzz(func(t *testing.T, path string) {
		assert.Equal(t, path, unescape(escape.Replace(path)))
		assert.LessOrEqual(t, len(unescape(path)), len(path))
	})
}
