//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// written is a console's file, as the log daemon keeps it.
type written struct {
	*testing.T
	path string
}

func (w written) say(text string) {
	f, err := os.OpenFile(w.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(w, err)
	_, err = f.WriteString(text)
	require.NoError(w, errors.Join(err, f.Close()))
}

// rotate begins another file and keeps two older ones.
func (w written) rotate() {
	_ = os.Rename(w.path+".0", w.path+".1")
	require.NoError(w, os.Rename(w.path, w.path+".0"))
}

func (w written) rest(r *consoleReader) string {
	var all bytes.Buffer
	buffer := make([]byte, 7)
	for {
		n, err := r.read(buffer)
		all.Write(buffer[:n])
		if errors.Is(err, io.EOF) {
			return all.String()
		}
		require.NoError(w, err)
	}
}

func TestAConsoleIsReadThroughItsFiles(t *testing.T) {
	w := written{t, filepath.Join(t.TempDir(), "x.log")}
	r := &consoleReader{path: w.path}
	defer r.close()
	assert.Empty(t, w.rest(r), "there is none yet")
	w.say("one\n")
	assert.Equal(t, "one\n", w.rest(r))
	first := consoleEnd(w.path, 2)
	w.say("two\n")
	w.rotate()
	w.say("three\n")
	assert.Equal(t, "two\nthree\n", w.rest(r))
	second := consoleEnd(w.path, 3)
	w.say("four\n")
	w.rotate()
	w.say("five\n")
	assert.Equal(t, "four\nfive\n", w.rest(r))

	part := &consoleReader{path: w.path, from: &first, until: &second}
	assert.Equal(t, "two\nthree\n", w.rest(part))
	part.close()
	last := &consoleReader{path: w.path, from: &second}
	assert.Equal(t, "four\nfive\n", w.rest(last))
	last.close()
	for range 3 {
		w.rotate()
		w.say("x")
	}
	late := &consoleReader{path: w.path, from: &first}
	assert.Equal(t, "xxx", w.rest(late), "of what is gone what follows is left")
	late.close()
}

func TestALinkIsNoConsole(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600))
	require.NoError(t, os.Symlink("secret", filepath.Join(dir, "x.log")))
	r := &consoleReader{path: filepath.Join(dir, "x.log")}
	assert.Empty(t, written{t, ""}.rest(r))
}
