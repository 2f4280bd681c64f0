//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOfProcessesThatMakeTheSameOneDoes has several of them create something of one
// name at once, many times over.
func TestOfProcessesThatMakeTheSameOneDoes(t *testing.T) {
	t.Parallel()
	m := openMorgue(t)
	for _, o := range operations {
		if o.prepare != nil || o.name == "import image" {
			continue // an image's name goes to who gives it last
		}
		t.Run(o.name, func(t *testing.T) {
			var rivals []*process
			for range 4 {
				p := m.process(t, o.name, "")
				rivals = append(rivals, p)
				t.Cleanup(func() { p.kill(); _ = p.cmd.Wait() })
			}
			for round := range 20 {
				name := fmt.Sprintf("name-%d", round)
				for _, p := range rivals {
					require.NoError(t, p.tell(name))
				}
				said := map[string]int{}
				for _, p := range rivals {
					said[p.hear()]++
				}
				require.Equal(t, map[string]int{"done": 1, "exists": len(rivals) - 1}, said, "round %d", round)
			}
		})
		m.empty(t, m.p, o.name)
	}
	m.asBefore(t, "all names")
}
