package logfile

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	runs, err := Runs(dir)
	require.NoError(t, err)
	assert.Empty(t, runs)

	fill(t, dir, WriterOptions{MaxSize: 1}, "z", "y")
	w := create(t, dir, "a", WriterOptions{})
	require.NoError(t, w.Write(Stdout, []byte("x\n")))
	runs, err = Runs(dir)
	require.NoError(t, err)
	require.Len(t, runs, 3)
	for i, want := range []struct {
		token   string
		size    int
		writing bool
	}{{"z", 6 * (headerSize + 5), false}, {"y", 6 * (headerSize + 5), false}, {"a", headerSize + 2, true}} {
		assert.Equal(t, want.token, runs[i].Token)
		assert.EqualValues(t, want.size, runs[i].Size)
		assert.Equal(t, want.writing, runs[i].Writing)
	}
	assert.True(t, runs[0].Started.Equal(noon))

	require.NoError(t, RemoveRun(dir, "z"))
	require.NoError(t, RemoveRun(dir, "z"))
	assert.ErrorIs(t, RemoveRun(dir, "../a"), ErrRun)
	names, err := filepath.Glob(filepath.Join(dir, "z*"))
	require.NoError(t, err)
	assert.Empty(t, names)

	// Removing the folder does not disturb the writer.
	require.NoError(t, Remove(dir))
	require.NoError(t, Remove(dir))
	require.NoError(t, w.Write(Stdout, []byte("x\n")))
	require.NoError(t, w.Close())
	assert.NoDirExists(t, dir)
}

func TestRunWithoutItsMark(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, WriterOptions{}, "a")
	require.NoError(t, os.Remove(filepath.Join(dir, "a.writer"))) // a backup has no FIFOs
	runs, err := Runs(dir)
	require.NoError(t, err)
	require.Len(t, runs, 1)
	assert.False(t, runs[0].Writing)
	assert.Len(t, readAll(t, dir, Options{Follow: true}), 6)
	assert.NoError(t, Await(t.Context(), dir, "a"))
}

func TestAwait(t *testing.T) {
	dir := t.TempDir()
	assert.ErrorIs(t, Await(t.Context(), dir, "-"), ErrRun)
	require.NoError(t, Await(t.Context(), dir, "r"))
	w := create(t, dir, "r", WriterOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, Await(ctx, dir, "r"), context.DeadlineExceeded)
	done := make(chan error)
	go func() { done <- Await(context.Background(), dir, "r") }()
	require.NoError(t, w.Close())
	require.NoError(t, <-done)
	require.NoError(t, Await(t.Context(), dir, "r"))
}

func TestLastLines(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, "r", WriterOptions{MaxSize: 2000})
	long := bytes.Repeat([]byte("x"), 2*MaxRecord+5)
	require.NoError(t, w.Write(Stdout, []byte("first\n")))
	require.NoError(t, w.Write(Stdout, append(long, '\n')))
	require.NoError(t, w.Write(Stderr, []byte("caf\xc3\xa9\t\x1b[31mred\x00\r\n")))
	require.NoError(t, w.Write(Stdout, []byte("unfinished")))
	require.NoError(t, w.Close())
	got, err := LastLines(t.Context(), dir, "r", 10)
	require.NoError(t, err)
	require.Len(t, got, 4)
	assert.Equal(t, "first", got[0])
	assert.Equal(t, strings.Repeat("x", maxShown)+"...", got[1])
	assert.Equal(t, "café\t"+`\x1b[31mred\x00`, got[2])
	assert.Equal(t, "unfinished", got[3])
	got, err = LastLines(t.Context(), dir, "r", 1)
	require.NoError(t, err)
	assert.Equal(t, []string{"unfinished"}, got)
	got, err = LastLines(t.Context(), dir, "r", 0)
	require.NoError(t, err)
	assert.Empty(t, got)
	_, err = LastLines(t.Context(), dir, "/", 1)
	assert.ErrorIs(t, err, ErrRun)
}
