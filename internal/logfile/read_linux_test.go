package logfile

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fill writes runs of three seconds each, an hour apart, with two entries a
// second: "RUN oN" and "RUN eN".
func fill(t testing.TB, dir string, o WriterOptions, runs ...string) {
	for i, run := range runs {
		w := create(t, dir, run, o)
		for n := range 3 {
			w.now = func() time.Time {
				return noon.Add(time.Duration(i)*time.Hour + time.Duration(n)*time.Second)
			}
			require.NoError(t, w.Write(Stdout, fmt.Appendf(nil, "%s o%d\n", run, n)))
			require.NoError(t, w.Write(Stderr, fmt.Appendf(nil, "%s e%d\n", run, n)))
		}
		require.NoError(t, w.Close())
		at := noon.Add(time.Duration(i) * time.Hour)
		require.NoError(t, os.Chtimes(filepath.Join(dir, run+".writer"), at, at))
	}
}

func TestRead(t *testing.T) {
	second := func(hour, n int) time.Time {
		return noon.Add(time.Duration(hour)*time.Hour + time.Duration(n)*time.Second)
	}
	all := []string{
		"b o0", "b e0", "b o1", "b e1", "b o2", "b e2",
		"a o0", "a e0", "a o1", "a e1", "a o2", "a e2",
	}
	for name, c := range map[string]struct {
		options Options
		want    []string
	}{
		"all":            {Options{}, all},
		"one run":        {Options{Run: "a"}, all[6:]},
		"a stream":       {Options{Run: "b", Streams: []Stream{Stderr}}, []string{"b e0", "b e1", "b e2"}},
		"both streams":   {Options{Streams: []Stream{Stderr, Stdout}}, all},
		"since":          {Options{Since: second(0, 1)}, all[2:]},
		"since between":  {Options{Since: second(0, 30)}, all[6:]},
		"since the end":  {Options{Since: second(2, 0)}, nil},
		"until":          {Options{Until: second(1, 1)}, all[:10]},
		"until nothing":  {Options{Until: second(-1, 0)}, nil},
		"since to until": {Options{Since: second(0, 2), Until: second(1, 0)}, all[4:8]},
		"tail":           {Options{Tail: 3}, all[9:]},
		"tail over runs": {Options{Tail: 8}, all[4:]},
		"tail of more":   {Options{Tail: 100}, all},
		"tail of a run":  {Options{Run: "b", Tail: 2}, all[4:6]},
		"no tail":        {Options{Tail: -1}, nil},
		"tail stream":    {Options{Tail: 4, Streams: []Stream{Stdout}}, []string{"b o2", "a o0", "a o1", "a o2"}},
		"tail until":     {Options{Tail: 3, Until: second(1, 0)}, []string{"b e2", "a o0", "a e0"}},
		"tail since":     {Options{Tail: 9, Since: second(1, 2)}, all[10:]},
		"follow":         {Options{Follow: true}, all},
		"follow tail":    {Options{Follow: true, Tail: 1}, all[11:]},
		"follow no tail": {Options{Follow: true, Tail: -1}, nil},
		"follow a run":   {Options{Follow: true, Run: "b"}, all[:6]},
		"follow until":   {Options{Follow: true, Until: second(0, 0)}, all[:2]},
	} {
		for _, size := range []int64{0, 1, 100} {
			t.Run(fmt.Sprint(name, " in files of ", size), func(t *testing.T) {
				dir := t.TempDir()
				fill(t, dir, WriterOptions{MaxSize: size}, "b", "a")
				if c.want == nil {
					c.want = []string{}
				}
				assert.Equal(t, c.want, texts(readAll(t, dir, c.options)))
			})
		}
	}
}

func TestReadOfNothing(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, dir := range []string{t.TempDir(), missing} {
		for _, o := range []Options{{}, {Follow: true}, {Tail: 3}} {
			assert.Empty(t, readAll(t, dir, o))
		}
		for _, err := range Read(t.Context(), dir, Options{Run: "r", Follow: true}) {
			assert.ErrorIs(t, err, fs.ErrNotExist)
		}
		lines, err := LastLines(t.Context(), dir, "r", 5)
		assert.NoError(t, err)
		assert.Empty(t, lines)
	}
	calls := 0
	for _, err := range Read(t.Context(), missing, Options{Run: "../r"}) {
		calls++
		assert.ErrorIs(t, err, ErrRun)
	}
	assert.Equal(t, 1, calls)
}

func TestReadEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, "r", WriterOptions{})
	defer func() { require.NoError(t, w.Close()) }()
	require.NoError(t, w.Write(Stdout, []byte("a\n")))

	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range Read(done, dir, Options{}) {
		assert.ErrorIs(t, err, context.Canceled)
	}
	for _, o := range []Options{{Follow: true}, {Follow: true, Tail: -1}} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		var last error
		for _, err := range Read(ctx, dir, o) {
			last = err
		}
		cancel()
		assert.ErrorIs(t, last, context.DeadlineExceeded)
	}
}

func TestFollowEndsAtUntil(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, "r", WriterOptions{})
	defer func() { require.NoError(t, w.Close()) }()
	require.NoError(t, w.Write(Stdout, []byte("a\n")))
	got := readAll(t, dir, Options{Follow: true, Until: time.Now().Add(20 * time.Millisecond)})
	assert.Equal(t, []string{"a"}, texts(got))
}

// TestFollow has a follower that is told of each entry before the next is
// written, thus waits before every one.
func TestFollow(t *testing.T) {
	for _, o := range []WriterOptions{{}, {MaxSize: 1}, {MaxSize: 100}, {MaxSize: 1, MaxFiles: 1}} {
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			dir := t.TempDir()
			w := create(t, dir, "r", o)
			require.NoError(t, w.Write(Stdout, []byte("0\n")))
			n := 0
			for e, err := range Read(t.Context(), dir, Options{Follow: true}) {
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint(n), string(e.Line))
				if n++; n < 50 {
					require.NoError(t, w.Write(Stdout, fmt.Appendf(nil, "%d\n", n)))
				} else {
					require.NoError(t, w.Close())
				}
			}
			assert.Equal(t, 50, n)
		})
	}
}

func TestFollowMany(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, "r", WriterOptions{MaxSize: 5000})
	watcher := new(Watcher)
	const followers, lines = 200, 1000 // more than a user may have of inotify
	results := make(chan []Entry, followers)
	started := make(chan struct{}, followers)
	require.NoError(t, w.Write(Stdout, []byte("0\n")))
	for range followers {
		go func() {
			var got []Entry
			for e, err := range Read(context.Background(), dir, Options{Follow: true, Watcher: watcher}) {
				if !assert.NoError(t, err) {
					break
				}
				if got = append(got, e); len(got) == 1 {
					started <- struct{}{}
				}
			}
			results <- got
		}()
	}
	for range followers {
		<-started
	}
	for i := 1; i < lines; i++ {
		require.NoError(t, w.Write(Stdout, fmt.Appendf(nil, "%d\n", i)))
	}
	require.NoError(t, w.Close())
	want := readAll(t, dir, Options{})
	assert.Len(t, want, lines)
	for range followers {
		assert.Equal(t, want, <-results)
	}
	assert.Nil(t, watcher.inotify, "nobody follows any more")
}

func TestFollowersComeAndGo(t *testing.T) {
	before := openFiles(t)
	watcher := new(Watcher)
	for range 50 {
		a, b := t.TempDir(), t.TempDir()
		wa, wb := create(t, a, "r", WriterOptions{}), create(t, b, "r", WriterOptions{})
		ended := make(chan int)
		for _, dir := range []string{a, a, b} {
			go func() {
				n := 0
				for _, err := range Read(context.Background(), dir, Options{Follow: true, Watcher: watcher}) {
					assert.NoError(t, err)
					n++
				}
				ended <- n
			}()
		}
		require.NoError(t, wa.Write(Stdout, []byte("x\n")))
		require.NoError(t, wb.Write(Stdout, []byte("x\n")))
		require.NoError(t, wa.Close())
		require.NoError(t, wb.Close())
		for range 3 {
			assert.Equal(t, 1, <-ended)
		}
	}
	_, err := watcher.subscribe(filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.Equal(t, before, openFiles(t))
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestReadLeavesNothingOpen(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, WriterOptions{MaxSize: 100}, "a", "b")
	w := create(t, dir, "c", WriterOptions{})
	defer func() { require.NoError(t, w.Close()) }()
	require.NoError(t, w.Write(Stdout, []byte("x\n")))
	for range Read(t.Context(), dir, Options{Follow: true}) {
		break // lets the runtime open what it keeps
	}
	before := openFiles(t)
	for _, o := range []Options{{}, {Tail: 2}, {Follow: true}, {Follow: true, Tail: 1}, {Since: noon}} {
		for range Read(t.Context(), dir, o) {
			break
		}
		_, err := LastLines(t.Context(), dir, "a", 2)
		require.NoError(t, err)
		_, err = Runs(dir)
		require.NoError(t, err)
	}
	assert.Equal(t, before, openFiles(t))
}

func TestReadIsRepeatable(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, WriterOptions{}, "a")
	seq := Read(t.Context(), dir, Options{})
	for range 2 {
		n := 0
		for e, err := range seq {
			require.NoError(t, err)
			e.Line[0] = 'X' // it is the receiver's
			n++
		}
		assert.Equal(t, 6, n)
	}
}

func TestTornEnd(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, WriterOptions{}, "a")
	path := filepath.Join(dir, "a.000001.log")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for cut := 1; cut < 50; cut++ {
		require.NoError(t, os.Truncate(path, int64(len(whole)-cut)))
		want := []string{"a o0", "a e0", "a o1", "a e1", "a o2"}
		for _, o := range []Options{{}, {Follow: true}, {Tail: 5}, {Follow: true, Tail: 5}} {
			assert.Equal(t, want[:len(want)-cut/45], texts(readAll(t, dir, o))[:len(want)-cut/45])
		}
		require.NoError(t, os.WriteFile(path, whole, 0o600))
	}
	// A writer that goes on leaves the torn record where it is.
	require.NoError(t, os.Truncate(path, int64(len(whole)-3)))
	w := create(t, dir, "a", WriterOptions{})
	require.NoError(t, w.Write(Stdout, []byte("more\n")))
	require.NoError(t, w.Close())
	for _, o := range []Options{{}, {Follow: true}, {Tail: 6}} {
		assert.Equal(t, []string{"a o0", "a e0", "a o1", "a e1", "a o2", "more"}, texts(readAll(t, dir, o)))
	}
}

func TestHostileFolder(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	line := appendHeader(nil, noon, Stdout)
	require.NoError(t, os.WriteFile(secret, append(line, "F secret\n"...), 0o600))

	dir := t.TempDir()
	fill(t, dir, WriterOptions{}, "good")
	put := func(name string, make func(path string) error) { require.NoError(t, make(filepath.Join(dir, name))) }
	put("good.000002.log", func(p string) error { return os.Symlink(secret, p) })
	put("good.000003.log", func(p string) error { return syscall.Mkfifo(p, 0o600) })
	put("good.000004.log", func(p string) error { return os.Mkdir(p, 0o700) })
	put("linked.000001.log", func(p string) error { return os.Symlink(secret, p) })
	put("linked.writer", func(p string) error { return os.Symlink("good.writer", p) })
	put("file.writer", func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) })
	put("-bad.000001.log", func(p string) error { return os.WriteFile(p, append(line, "F bad\n"...), 0o600) })
	put("other", func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) })
	corrupt := bytes.Join([][]byte{
		[]byte("\x00\xff"), nil, []byte("stdout F x"),
		bytes.Repeat([]byte("y"), 3*blockSize),
		append(append(line, "F "...), bytes.Repeat([]byte("z"), maxRecordLine)...),
		append(appendHeader(nil, noon, Stdout), "F one good\n"...),
		bytes.Repeat([]byte{0}, blockSize+7),
	}, []byte("\n"))
	put("corrupt.000001.log", func(p string) error { return os.WriteFile(p, corrupt, 0o600) })

	runs, err := Runs(dir)
	require.NoError(t, err)
	tokens := []string{}
	for _, r := range runs {
		tokens = append(tokens, r.Token)
	}
	assert.ElementsMatch(t, []string{"good", "corrupt"}, tokens)
	for _, o := range []Options{{}, {Follow: true}, {Tail: 100}, {Since: noon.Add(-time.Hour)}, {Tail: 100, Follow: true}} {
		for run, want := range map[string]int{"good": 6, "corrupt": 1} {
			o.Run = run
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			n := 0
			for e, err := range Read(ctx, dir, o) {
				require.NoError(t, err)
				assert.NotContains(t, string(e.Line), "secret")
				n++
			}
			cancel()
			assert.Equal(t, want, n, "%+v", o)
		}
	}
	for _, run := range []string{"linked", "file"} {
		alive, err := Writing(dir, run)
		assert.False(t, alive)
		assert.Error(t, err)
		assert.Error(t, Await(t.Context(), dir, run))
	}
	require.NoError(t, Remove(dir))
	assert.FileExists(t, secret)
}

func TestTailReadsTheEndOnly(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, "r", WriterOptions{})
	require.NoError(t, w.Write(Stdout, []byte("x\n")))
	require.NoError(t, w.Close())
	// A hole of 1 TB before the end: reading it would take minutes.
	f, err := os.OpenFile(filepath.Join(dir, "r.000001.log"), os.O_WRONLY, 0)
	require.NoError(t, err)
	const hole = 1 << 40
	line := append(appendHeader(nil, noon, Stdout), "F end\n"...)
	_, err = f.WriteAt(append([]byte("\n"), bytes.Repeat(line, 3)...), hole)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	for _, o := range []Options{{Tail: 2}, {Tail: 2, Follow: true}} {
		start := time.Now()
		assert.Equal(t, []string{"end", "end"}, texts(readAll(t, dir, o)))
		assert.Less(t, time.Since(start), 5*time.Second)
	}
}

func TestReadOfAHoleEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, "r", WriterOptions{})
	require.NoError(t, w.Write(Stdout, []byte("x\n")))
	require.NoError(t, w.Close())
	require.NoError(t, os.Truncate(filepath.Join(dir, "r.000001.log"), 1<<40))
	for _, o := range []Options{{}, {Follow: true}, {Tail: 2}, {Since: noon}} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		var last error
		start := time.Now()
		for _, err := range Read(ctx, dir, o) {
			last = err
		}
		cancel()
		assert.ErrorIs(t, last, context.DeadlineExceeded)
		assert.Less(t, time.Since(start), 5*time.Second)
	}
}

func TestReadEndsBetweenEntries(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, WriterOptions{}, "a")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	entries, last := 0, error(nil)
	for _, err := range Read(ctx, dir, Options{}) {
		if last = err; err == nil {
			entries++
			cancel()
		}
	}
	assert.Equal(t, 1, entries)
	assert.ErrorIs(t, last, context.Canceled)
}

func TestReadOfABusyLogEnds(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir, "r", WriterOptions{MaxSize: 1000})
	require.NoError(t, w.Write(Stdout, []byte("x\n")))
	n := 0
	for _, err := range Read(t.Context(), dir, Options{}) {
		require.NoError(t, err)
		n++
		require.NoError(t, w.Write(Stdout, []byte("more\nmore\n")))
	}
	assert.Equal(t, 1, n, "what came later is not read")
	require.NoError(t, w.Close())
}

func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	w := create(b, dir, "r", WriterOptions{})
	block := bytes.Repeat(append(bytes.Repeat([]byte("x"), 79), '\n'), 800)
	const blocks = 500
	for range blocks {
		require.NoError(b, w.Write(Stdout, block))
	}
	require.NoError(b, w.Close())
	b.SetBytes(int64(blocks * len(block)))
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range Read(b.Context(), dir, Options{}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
