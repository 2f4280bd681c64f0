package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func create(t require.TestingT, dir, run string, o WriterOptions) *Writer {
	w, err := Create(dir, run, o)
	require.NoError(t, err)
	return w
}

func readAll(t require.TestingT, dir string, o Options) []Entry {
	entries := []Entry{}
	for e, err := range Read(context.Background(), dir, o) {
		require.NoError(t, err)
		entries = append(entries, e)
	}
	return entries
}

func texts(entries []Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, string(e.Line))
	}
	return out
}

// content is what an instance wrote to a stream, put together from its entries.
func content(entries []Entry, s Stream) string {
	var b strings.Builder
	for _, e := range entries {
		if e.Stream == s && e.Lost == 0 {
			b.Write(e.Line)
			if !e.Partial {
				b.WriteByte('\n')
			}
		}
	}
	return b.String()
}

func TestWriterFormat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	w := create(t, dir, "r", WriterOptions{})
	w.now = func() time.Time { return noon.Add(1) }
	require.NoError(t, w.Write(Stdout, []byte("one\n\ntw")))
	w.now = func() time.Time { return noon } // the clock is put back
	require.NoError(t, w.Write(Stderr, []byte("bad")))
	w.now = func() time.Time { return noon.Add(time.Hour).In(time.FixedZone("x", 3600)) }
	require.NoError(t, w.Write(Stdout, []byte("o\nend\r")))
	require.NoError(t, w.Write(Stdout, nil))
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	assert.ErrorIs(t, w.Write(Stdout, []byte("x")), os.ErrClosed)

	got, err := os.ReadFile(filepath.Join(dir, "r.000001.log"))
	require.NoError(t, err)
	assert.Equal(t, `2026-01-02T12:00:00.000000001Z stdout F one
2026-01-02T12:00:00.000000001Z stdout F `+`
2026-01-02T13:00:00.000000000Z stdout F two
2026-01-02T13:00:00.000000000Z stdout P end`+"\r"+`
2026-01-02T13:00:00.000000000Z stderr P bad
`, string(got))

	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	info, err = os.Stat(filepath.Join(dir, "r.000001.log"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
}

func TestWriterSplitsLongLines(t *testing.T) {
	for _, size := range []int{0, 1, MaxRecord - 1, MaxRecord, MaxRecord + 1, 2 * MaxRecord, 2*MaxRecord + 1, 10*MaxRecord + 7} {
		for _, end := range []string{"", "\n"} {
			for _, piece := range []int{1 << 30, 4096, MaxRecord, MaxRecord + 1} {
				dir := t.TempDir()
				w := create(t, dir, "r", WriterOptions{})
				want := strings.Repeat("x", size) + end
				for rest := []byte(want); len(rest) > 0; {
					n := min(piece, len(rest))
					require.NoError(t, w.Write(Stdout, rest[:n]))
					rest = rest[n:]
				}
				require.NoError(t, w.Close())
				entries := readAll(t, dir, Options{})
				assert.Equal(t, want, content(entries, Stdout), "size %d piece %d", size, piece)
				if len(want) > 0 {
					assert.Len(t, entries, max(1, (size+MaxRecord-1)/MaxRecord), "size %d end %q piece %d", size, end, piece)
				}
				for _, e := range entries {
					assert.LessOrEqual(t, len(e.Line), MaxRecord)
				}
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := filepath.Join(root, fmt.Sprint(n))
		w := create(t, dir, "r", WriterOptions{MaxSize: rapid.Int64Range(0, 4*MaxRecord).Draw(t, "max size")})
		var want [2]bytes.Buffer
		for range rapid.IntRange(0, 20).Draw(t, "writes") {
			s := rapid.SampledFrom([]Stream{Stdout, Stderr}).Draw(t, "stream")
			p := rapid.OneOf(
				rapid.SliceOfN(rapid.Byte(), 0, 100),
				rapid.SliceOfN(rapid.SampledFrom([]byte("a\n")), 0, 100),
				rapid.Just(bytes.Repeat([]byte("y"), MaxRecord)),
				rapid.Just(bytes.Repeat([]byte("z"), MaxRecord+1)),
			).Draw(t, "bytes")
			want[s-1].Write(p)
			require.NoError(t, w.Write(s, p))
		}
		require.NoError(t, w.Close())
		entries := readAll(t, dir, Options{})
		require.Equal(t, want[0].String(), content(entries, Stdout))
		require.Equal(t, want[1].String(), content(entries, Stderr))
		var last time.Time
		for _, e := range entries {
			require.False(t, e.Time.Before(last))
			last = e.Time
		}
		// Tail is the end of the same.
		tail := rapid.IntRange(1, 30).Draw(t, "tail")
		require.Equal(t, entries[max(0, len(entries)-tail):], readAll(t, dir, Options{Tail: tail}))
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("one\ntwo"), uint16(3), false)
	f.Add([]byte("2016-10-06T00:17:09.669794202Z stdout F forged\n"), uint16(1000), true)
	f.Add([]byte{0, 0xff, '\n', '\r', 0x1b}, uint16(1), true)
	f.Fuzz(func(t *testing.T, data []byte, piece uint16, rotate bool) {
		o := WriterOptions{}
		if rotate {
			o.MaxSize = 200
		}
		dir := t.TempDir()
		w := create(t, dir, "r", o)
		for rest := data; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			require.NoError(t, w.Write(Stderr, rest[:n]))
			rest = rest[n:]
		}
		require.NoError(t, w.Close())
		require.Equal(t, string(data), content(readAll(t, dir, Options{}), Stderr))
	})
}

func TestWriterRotates(t *testing.T) {
	for _, c := range []struct {
		options    WriterOptions
		files      int
		wantOldest int
	}{
		{options: WriterOptions{}, files: 1, wantOldest: 1},
		{options: WriterOptions{MaxFiles: 2}, files: 1, wantOldest: 1},
		{options: WriterOptions{MaxSize: 1000}, files: 50, wantOldest: 1},
		{options: WriterOptions{MaxSize: 1000, MaxFiles: 3}, files: 3, wantOldest: 48},
		{options: WriterOptions{MaxSize: 1000, MaxFiles: 1}, files: 1, wantOldest: 50},
		{options: WriterOptions{MaxSize: 1}, files: 1000, wantOldest: 1}, // a record a file
	} {
		t.Run(fmt.Sprint(c.options), func(t *testing.T) {
			dir := t.TempDir()
			w := create(t, dir, "r", c.options)
			// 20 records of 50 bytes fill 1000 bytes.
			var all []byte
			for i := range 1000 {
				all = fmt.Appendf(all, "%09d\n", i)
			}
			require.NoError(t, w.Write(Stdout, all[:5005])) // in batches that end anywhere
			require.NoError(t, w.Write(Stdout, all[5005:]))
			require.NoError(t, w.Close())
			seqs, err := listSeqs(dir, "r")
			require.NoError(t, err)
			assert.Len(t, seqs, c.files)
			assert.Equal(t, c.wantOldest, seqs[0])
			if c.options.MaxSize > 1 {
				for _, seq := range seqs {
					info, err := os.Stat(filepath.Join(dir, logName("r", seq)))
					require.NoError(t, err)
					assert.LessOrEqual(t, info.Size(), c.options.MaxSize)
				}
			}
			got := content(readAll(t, dir, Options{}), Stdout)
			assert.True(t, strings.HasSuffix(string(all), got))
			if c.wantOldest == 1 {
				assert.Equal(t, string(all), got)
			}
		})
	}
}

func TestOneWriterForARun(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, "r", WriterOptions{})
	_, err := Create(dir, "r", WriterOptions{})
	require.ErrorIs(t, err, ErrWriting)
	assert.ErrorIs(t, RemoveRun(dir, "r"), ErrWriting)
	other := create(t, dir, "r2", WriterOptions{})
	require.NoError(t, other.Close())
	require.NoError(t, w.Close())

	// A run that is written again goes on in time and in a new file.
	again := create(t, dir, "r", WriterOptions{})
	again.now = func() time.Time { return noon }
	require.NoError(t, again.Write(Stdout, []byte("a\n")))
	require.NoError(t, again.Close())
	third := create(t, dir, "r", WriterOptions{})
	third.now = func() time.Time { return noon.Add(-time.Hour) }
	require.NoError(t, third.Write(Stdout, []byte("b\n")))
	require.NoError(t, third.Close())
	entries := readAll(t, dir, Options{Run: "r"})
	require.Equal(t, []string{"a", "b"}, texts(entries))
	assert.Equal(t, noon, entries[1].Time)
}

func TestCreateRefuses(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, dir string){
		"link in place of the mark": func(t *testing.T, dir string) {
			target := filepath.Join(t.TempDir(), "fifo")
			require.NoError(t, syscall.Mkfifo(target, 0o600))
			require.NoError(t, os.Symlink(target, filepath.Join(dir, "r.writer")))
		},
		"file in place of the mark": func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "r.writer"), nil, 0o600))
		},
		"link in place of the log": func(t *testing.T, dir string) {
			target := filepath.Join(t.TempDir(), "precious")
			require.NoError(t, os.WriteFile(target, []byte("precious"), 0o600))
			require.NoError(t, os.Symlink(target, filepath.Join(dir, "r.000001.log")))
			t.Cleanup(func() {
				got, err := os.ReadFile(target)
				assert.NoError(t, err)
				assert.Equal(t, "precious", string(got))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			prepare(t, dir)
			_, err := Create(dir, "r", WriterOptions{})
			require.Error(t, err)
			alive, _ := Writing(dir, "r")
			assert.False(t, alive)
		})
	}
	_, err := Create(t.TempDir(), "../r", WriterOptions{})
	assert.ErrorIs(t, err, ErrRun)
	_, err = Create(t.TempDir(), "r", WriterOptions{MaxSize: -1})
	assert.Error(t, err)
	_, err = Create(t.TempDir(), "r", WriterOptions{MaxFiles: -1})
	assert.Error(t, err)
	w := create(t, t.TempDir(), "r", WriterOptions{})
	assert.Error(t, w.Write(Stream(0), []byte("x")))
	assert.NoError(t, w.Close())
}

// fullDisk is a file on a disk that has room for so many bytes.
type fullDisk struct {
	file
	room      *int
	noCutting bool
}

func (d *fullDisk) Write(p []byte) (int, error) {
	n, err := d.file.Write(p[:min(len(p), *d.room)])
	*d.room -= n
	if err == nil && n < len(p) {
		err = &fs.PathError{Op: "write", Path: "/secret", Err: syscall.ENOSPC}
	}
	return n, err
}

func (d *fullDisk) Truncate(size int64) error {
	if d.noCutting {
		return syscall.EIO
	}
	return d.file.Truncate(size)
}

func TestDiskFull(t *testing.T) {
	for _, noCutting := range []bool{false, true} {
		t.Run(fmt.Sprint(noCutting), func(t *testing.T) {
			dir := t.TempDir()
			room := 1 << 30
			w := create(t, dir, "r", WriterOptions{})
			w.create = func(dir, name string) (file, error) {
				f, err := createLog(dir, name)
				return &fullDisk{file: f, room: &room, noCutting: noCutting}, err
			}
			require.NoError(t, w.rotate())
			require.NoError(t, w.Write(Stdout, []byte("before\n")))

			room = headerSize + len("kept\n") + 10 // the next record is torn
			err := w.Write(Stdout, []byte("kept\nlost\nlost\n"))
			require.ErrorIs(t, err, syscall.ENOSPC)
			room = 0
			big := bytes.Repeat([]byte("gone\n"), 1<<20)
			require.ErrorIs(t, w.Write(Stderr, big), syscall.ENOSPC)
			require.ErrorIs(t, w.Write(Stdout, []byte("a line that")), nil)
			room = 10 // not enough for a marker
			require.Error(t, w.Write(Stderr, []byte("x\n")))

			room = 1 << 30
			require.NoError(t, w.Write(Stdout, []byte(" is whole\n")))
			require.NoError(t, w.Write(Stderr, []byte("after\n")))
			require.NoError(t, w.Close())

			entries := readAll(t, dir, Options{})
			require.Equal(t, []string{
				"before", "kept",
				"[10 bytes of output lost: no space left on device]",
				fmt.Sprintf("[%d bytes of output lost: no space left on device]", len(big)+2),
				"a line that is whole", "after",
			}, texts(entries))
			assert.Equal(t, int64(10), entries[2].Lost)
			assert.Equal(t, Stdout, entries[2].Stream)
			assert.Equal(t, int64(len(big)+2), entries[3].Lost)
			assert.Equal(t, Stderr, entries[3].Stream)
		})
	}
}

func TestDiskFullAtRotation(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, "r", WriterOptions{MaxSize: 100, MaxFiles: 3})
	real, full, tries := w.create, false, 0
	w.create = func(dir, name string) (file, error) {
		if tries++; full {
			return nil, syscall.ENOSPC
		}
		return real(dir, name)
	}
	require.NoError(t, w.Write(Stdout, []byte("first\n")))
	full = true
	require.ErrorIs(t, w.Write(Stdout, bytes.Repeat([]byte("lost\n"), 100)), syscall.ENOSPC)
	full = false
	require.NoError(t, w.Write(Stdout, []byte("last\n")))
	require.NoError(t, w.Close())
	entries := readAll(t, dir, Options{})
	var lost int64
	for _, e := range entries {
		lost += e.Lost
	}
	got := content(entries, Stdout)
	assert.Equal(t, int64(500), lost+int64(strings.Count(got, "lost\n")*5))
	assert.True(t, strings.HasSuffix(got, "last\n"))
	t.Log(tries, "attempts to create a file")
}

func TestFailureAtStartLeavesNoWriter(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "r.000001.log"), 0o700)) // in the way
	_, err := Create(dir, "r", WriterOptions{})
	require.Error(t, err)
	assert.True(t, errors.Is(err, fs.ErrExist))
	alive, err := Writing(dir, "r")
	require.NoError(t, err)
	assert.False(t, alive)
}

func TestWriterConcurrently(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, "r", WriterOptions{MaxSize: 10_000})
	var group sync.WaitGroup
	for _, s := range []Stream{Stdout, Stderr} {
		group.Go(func() {
			for i := range 1000 {
				assert.NoError(t, w.Write(s, fmt.Appendf(nil, "%d\n", i)))
			}
		})
	}
	group.Wait()
	require.NoError(t, w.Close())
	entries := readAll(t, dir, Options{})
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintln(&want, i)
	}
	assert.Equal(t, want.String(), content(entries, Stdout))
	assert.Equal(t, want.String(), content(entries, Stderr))
}

func BenchmarkWriter(b *testing.B) {
	for _, size := range []int{20, 80, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			block := bytes.Repeat(append(bytes.Repeat([]byte("x"), size-1), '\n'), 64<<10/size)
			w := create(b, b.TempDir(), "r", WriterOptions{MaxSize: 64 << 20, MaxFiles: 2})
			b.SetBytes(int64(len(block)))
			b.ReportAllocs()
			for b.Loop() {
				_ = w.Write(Stdout, block)
			}
			_ = w.Close()
		})
	}
}
