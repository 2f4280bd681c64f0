package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// wholeLines is the plain definition of what both directions must yield.
func wholeLines(content []byte) []string {
	lines := []string{}
	parts := bytes.Split(content, []byte{'\n'})
	for _, line := range parts[:len(parts)-1] {
		if len(line) <= maxRecordLine {
			lines = append(lines, string(line))
		}
	}
	return lines
}

func forwardLines(t require.TestingT, r io.ReaderAt) []string {
	lines := []string{}
	for f := newForward(r, 0); ; {
		line, err := f.next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		require.NoError(t, err)
		lines = append(lines, string(line))
	}
}

func backwardLines(t require.TestingT, content []byte) []string {
	lines := []string{}
	b, err := newBackward(bytes.NewReader(content), int64(len(content)))
	require.NoError(t, err)
	for {
		line, at, err := b.prev()
		if errors.Is(err, io.EOF) {
			slices.Reverse(lines)
			return lines
		}
		require.NoError(t, err)
		require.True(t, at == 0 || content[at-1] == '\n')
		if line != nil {
			require.Equal(t, string(content[at:at+int64(len(line))]), string(line))
			lines = append(lines, string(line))
		}
	}
}

// shortReads returns less than was asked for, as a file that grows does.
type shortReads struct{ io.ReaderAt }

func (s shortReads) ReadAt(p []byte, off int64) (int, error) {
	return s.ReaderAt.ReadAt(p[:min(len(p), 1000)], off)
}

func TestLinesInBothDirections(t *testing.T) {
	sizes := rapid.OneOf(
		rapid.IntRange(0, 50),
		rapid.SampledFrom([]int{
			maxRecordLine - 1, maxRecordLine, maxRecordLine + 1,
			blockSize - 1, blockSize, blockSize + 1, 3 * blockSize,
		}),
	)
	rapid.Check(t, func(t *rapid.T) {
		var content []byte
		for i, n := range rapid.SliceOfN(sizes, 0, 20).Draw(t, "lines") {
			content = append(content, bytes.Repeat([]byte{'a' + byte(i)}, n)...)
			content = append(content, '\n')
		}
		content = append(content, bytes.Repeat([]byte{'.'}, sizes.Draw(t, "torn"))...)
		want := wholeLines(content)
		require.Equal(t, want, forwardLines(t, bytes.NewReader(content)))
		require.Equal(t, want, forwardLines(t, shortReads{bytes.NewReader(content)}))
		require.Equal(t, want, backwardLines(t, content))
	})
}

func TestSeek(t *testing.T) {
	// 20,000 records a second apart, with rubbish between them.
	var content []byte
	starts := []int64{}
	for i := range 20_000 {
		starts = append(starts, int64(len(content)))
		content = appendHeader(content, noon.Add(time.Duration(i)*time.Second), Stdout)
		content = fmt.Appendf(content, "F %d\n", i)
		switch {
		case i%1000 == 500:
			content = append(content, bytes.Repeat([]byte("x"), 2*blockSize)...)
			content = append(content, '\n')
		case i%100 == 50:
			content = append(content, "\x00\n\n not a record\n"...)
		}
	}
	for _, wanted := range []int{-1, 0, 1, 2, 777, 9_999, 10_000, 19_998, 19_999, 20_000} {
		since := noon.Add(time.Duration(wanted) * time.Second)
		reads := &countReads{ReaderAt: bytes.NewReader(content)}
		off, err := seek(reads, int64(len(content)), func(e Entry) bool { return e.Time.Before(since) })
		require.NoError(t, err)
		i := min(max(wanted, 0), len(starts)-1)
		assert.LessOrEqual(t, off, starts[i])
		assert.True(t, off == 0 || content[off-1] == '\n')
		// Rubbish between may add to the block that is left to be read.
		assert.Less(t, starts[i]-off, int64(4*blockSize))
		assert.Less(t, reads.n, 100)
	}
}

type countReads struct {
	io.ReaderAt
	n int
}

func (c *countReads) ReadAt(p []byte, off int64) (int, error) {
	c.n++
	return c.ReaderAt.ReadAt(p, off)
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\nc"))
	f.Add([]byte("\n\n"))
	f.Add(bytes.Repeat([]byte("x"), maxRecordLine+2))
	f.Fuzz(func(t *testing.T, content []byte) {
		want := wholeLines(content)
		require.Equal(t, want, forwardLines(t, bytes.NewReader(content)))
		require.Equal(t, want, backwardLines(t, content))
		_, err := seek(bytes.NewReader(content), int64(len(content)), func(e Entry) bool { return e.Partial })
		require.NoError(t, err)
		_, _ = lastRecord(bytes.NewReader(content), int64(len(content)))
	})
}
