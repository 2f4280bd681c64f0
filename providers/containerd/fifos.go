package containerd

import (
	"os"
	"path/filepath"
)

// removeFIFOs removes what a generation left of the streams of its execs.
func (s stateDir) removeFIFOs(generation string) error {
	return os.RemoveAll(filepath.Join(s.fifos(), generation))
}
