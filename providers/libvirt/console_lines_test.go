package libvirt

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

// FuzzLines holds that nothing of an output is lost or altered by how it is cut,
// but for the carriage return of a terminal.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\nb\n\nc"), 3)
	f.Add([]byte("a\r\r\n"), 1)
	f.Add(append(bytes.Repeat([]byte("x"), mostLine-1), "\r\ny\r"...), 1000)
	f.Add(bytes.Repeat([]byte("x"), 3*mostLine+1), 1000)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		step = max(1, step)
		var c lineCutter
		var lines []compute.LogLine
		for rest := text; len(rest) > 0; {
			n := min(step, len(rest))
			lines = append(lines, c.cut(rest[:n])...)
			rest = rest[n:]
		}
		lines = append(lines, c.rest()...)
		var whole []byte
		for _, line := range lines {
			require.LessOrEqual(t, len(line.Text), mostLine)
			whole = append(whole, line.Text...)
			if !line.Partial {
				whole = append(whole, '\n')
			}
		}
		require.Equal(t, bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), whole)
	})
}
