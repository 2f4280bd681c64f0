package keeper_test

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/internal/keeper"
	"github.com/univirt/univirt/internal/logfile"
)

// logger is a helper in the role log, started as containerd's shim does it.
type logger struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File // what the instance writes to
	ready          []byte
}

func startLogger(t testing.TB, o keeper.LogOptions) *logger {
	t.Helper()
	path, err := keeper.Install(filepath.Join(t.TempDir(), "bin"))
	require.NoError(t, err)
	text, err := keeper.LogURI(path, o)
	require.NoError(t, err)
	uri, err := url.Parse(text)
	require.NoError(t, err)
	require.Equal(t, "binary", uri.Scheme)
	var args []string
	for key, values := range uri.Query() { // in the order of a map, as the shim does
		args = append(args, key, values[0])
	}
	l := &logger{cmd: exec.Command(uri.Path, args...)}
	l.cmd.Env = []string{"CONTAINER_ID=c", "CONTAINER_NAMESPACE=ns"}
	outR, outW, err := os.Pipe()
	require.NoError(t, err)
	errR, errW, err := os.Pipe()
	require.NoError(t, err)
	readyR, readyW, err := os.Pipe()
	require.NoError(t, err)
	l.stdout, l.stderr = outW, errW
	l.cmd.ExtraFiles = []*os.File{outR, errR, readyW}
	require.NoError(t, l.cmd.Start())
	for _, f := range l.cmd.ExtraFiles {
		require.NoError(t, f.Close())
	}
	l.ready, err = io.ReadAll(readyR)
	require.NoError(t, err)
	require.NoError(t, readyR.Close())
	t.Cleanup(func() {
		_, _ = outW.Close(), errW.Close()
		if l.cmd.ProcessState == nil {
			_ = l.cmd.Process.Kill()
			_ = l.cmd.Wait()
		}
	})
	return l
}

// end closes both pipes and waits for the helper.
func (l *logger) end(t testing.TB) {
	t.Helper()
	_, _ = l.stdout.Close(), l.stderr.Close()
	require.NoError(t, l.cmd.Wait())
}

func read(t testing.TB, dir string, o logfile.Options) []logfile.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var entries []logfile.Entry
	for e, err := range logfile.Read(ctx, dir, o) {
		require.NoError(t, err)
		entries = append(entries, e)
	}
	return entries
}

func TestLogStoresBothStreams(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	l := startLogger(t, keeper.LogOptions{Dir: dir, Run: "r1"})
	assert.Equal(t, []byte{0}, l.ready)
	alive, err := logfile.Writing(dir, "r1")
	require.NoError(t, err)
	assert.True(t, alive, "ready means that the writer holds its file")

	_, err = l.stdout.WriteString("one\ntwo")
	require.NoError(t, err)
	_, err = l.stderr.WriteString("wrong\n")
	require.NoError(t, err)
	l.end(t)

	lines := map[logfile.Stream][]string{}
	for _, e := range read(t, dir, logfile.Options{}) {
		assert.Equal(t, "r1", e.Run)
		assert.Equal(t, string(e.Line) == "two", e.Partial)
		lines[e.Stream] = append(lines[e.Stream], string(e.Line))
	}
	assert.Equal(t, map[logfile.Stream][]string{
		logfile.Stdout: {"one", "two"},
		logfile.Stderr: {"wrong"},
	}, lines)
	alive, err = logfile.Writing(dir, "r1")
	require.NoError(t, err)
	assert.False(t, alive)
}

func TestLogOutlastsSignals(t *testing.T) {
	dir := t.TempDir()
	l := startLogger(t, keeper.LogOptions{Dir: dir, Run: "r"})
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		require.NoError(t, l.cmd.Process.Signal(sig))
	}
	_, err := l.stdout.WriteString("last words")
	require.NoError(t, err)
	l.end(t)
	entries := read(t, dir, logfile.Options{})
	require.Len(t, entries, 1)
	assert.Equal(t, "last words", string(entries[0].Line))
	assert.True(t, entries[0].Partial)
}

func TestLogOfTerminalEndsWithStdout(t *testing.T) {
	dir := t.TempDir()
	l := startLogger(t, keeper.LogOptions{Dir: dir, Run: "r", Terminal: true})
	_, err := l.stdout.WriteString("$ \r\n")
	require.NoError(t, err)
	require.NoError(t, l.stdout.Close()) // stderr stays open, as in the shim
	require.NoError(t, l.cmd.Wait())
	entries := read(t, dir, logfile.Options{})
	require.Len(t, entries, 1)
	assert.Equal(t, "$ \r", string(entries[0].Line))
}

func TestLogFollowedUntilKilled(t *testing.T) {
	dir := t.TempDir()
	l := startLogger(t, keeper.LogOptions{Dir: dir, Run: "r"})
	_, err := l.stdout.WriteString("first\n")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var got []string
	for e, err := range logfile.Read(ctx, dir, logfile.Options{Follow: true}) {
		require.NoError(t, err)
		got = append(got, string(e.Line))
		switch len(got) {
		case 1:
			_, err = l.stderr.WriteString("second\n")
			require.NoError(t, err)
		case 2:
			require.NoError(t, l.cmd.Process.Kill())
		}
	}
	assert.Equal(t, []string{"first", "second"}, got)
	require.Error(t, l.cmd.Wait())
}

func TestLogRefusesBadArguments(t *testing.T) {
	path, err := keeper.Install(filepath.Join(t.TempDir(), "bin"))
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "logs")
	good := []string{"role", "log", "dir", dir, "run", "r"}
	for name, args := range map[string][]string{
		"none":          nil,
		"odd":           {"role"},
		"unknown role":  {"role", "nope"},
		"twice":         append([]string{"role", "log"}, good...),
		"relative dir":  {"role", "log", "dir", "logs", "run", "r"},
		"no run":        {"role", "log", "dir", dir},
		"run is a path": {"role", "log", "dir", dir, "run", "../r"},
		"size":          append([]string{"max-size", "1k"}, good...),
		"files":         append([]string{"max-files", "-1"}, good...),
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(path, args...)
			out, err := cmd.CombinedOutput()
			assert.Error(t, err)
			assert.Empty(t, out)
			assert.NoDirExists(t, dir)
		})
	}
}

// TestLogKilledInTheMiddle kills the helper while it writes as fast as it can.
func TestLogKilledInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	l := startLogger(t, keeper.LogOptions{Dir: dir, Run: "r", MaxSize: 1 << 20})
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := 0; ; i++ {
			if _, err := l.stdout.WriteString(strconv.Itoa(i) + "\n"); err != nil {
				return // nobody reads the pipe any more
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var n int
	for e, err := range logfile.Read(ctx, dir, logfile.Options{Follow: true}) {
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(n), string(e.Line))
		if n++; n == 50_000 {
			require.NoError(t, l.cmd.Process.Kill())
		}
	}
	<-written
	assert.GreaterOrEqual(t, n, 50_000)
	assert.Len(t, read(t, dir, logfile.Options{}), n)
	require.Error(t, l.cmd.Wait())
}

// TestLogOnFullDisk fills a file system under the helper, which must go on to
// take what the instance writes, and say what is missing once there is room.
func TestLogOnFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("a small file system cannot be mounted here: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(mount, unix.MNT_DETACH)) })
	ballast := filepath.Join(mount, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 512<<10), 0o600))

	dir := filepath.Join(mount, "logs")
	l := startLogger(t, keeper.LogOptions{Dir: dir, Run: "r"})
	const lines = 1 << 18
	line := "0123456789abcde\n"
	_, err := l.stdout.WriteString(strings.Repeat(line, lines)) // 4 MB: the helper must drain it
	require.NoError(t, err)
	// Once it has taken this from the pipe there is no room but for its end.
	_, err = l.stderr.WriteString(strings.Repeat(line, 8<<10))
	require.NoError(t, err)
	require.NoError(t, os.Remove(ballast))
	_, err = l.stdout.WriteString("after\n")
	require.NoError(t, err)
	l.end(t)

	var stored, lost int
	var last string
	markers := map[logfile.Stream]int{}
	for _, e := range read(t, dir, logfile.Options{}) {
		if e.Lost > 0 {
			lost += int(e.Lost)
			markers[e.Stream]++
			continue
		}
		stored += len(e.Line) + 1
		if e.Stream == logfile.Stdout {
			last = string(e.Line)
		}
	}
	assert.Equal(t, lines*len(line)+(8<<10)*len(line)+len("after\n"), stored+lost, "nothing is missing without notice")
	assert.Equal(t, "after", last)
	assert.Equal(t, 1, markers[logfile.Stdout])
	t.Logf("%d bytes stored, %d lost, markers %v", stored, lost, markers)
}

// throughput writes total bytes of short lines through the helper.
func throughput(t testing.TB, total int) time.Duration {
	line := append(bytes.Repeat([]byte("x"), 79), '\n')
	block := bytes.Repeat(line, 1<<16/len(line))
	dir := t.TempDir()
	l := startLogger(t, keeper.LogOptions{Dir: dir, Run: "r", MaxSize: 64 << 20, MaxFiles: 2})
	start := time.Now()
	for n := 0; n < total; n += len(block) {
		_, err := l.stdout.Write(block)
		require.NoError(t, err)
	}
	l.end(t)
	return time.Since(start)
}

func TestLogKeepsUp(t *testing.T) {
	const total = 100 << 20
	took := throughput(t, total)
	t.Logf("%.0f MB/s", total/took.Seconds()/1e6)
	// A machine that is shared by others gives no more than an order of magnitude.
	assert.Less(t, took, 10*time.Second)
}

func BenchmarkLog(b *testing.B) {
	const total = 100 << 20
	b.SetBytes(total)
	for b.Loop() {
		throughput(b, total)
	}
}

func TestLogLosesNoLine(t *testing.T) {
	dir := t.TempDir()
	l := startLogger(t, keeper.LogOptions{Dir: dir, Run: "r", MaxSize: 256 << 10})
	const lines = 100_000
	var b bytes.Buffer
	for i := range lines {
		b.WriteString(strconv.Itoa(i))
		b.WriteByte('\n')
	}
	_, err := l.stdout.Write(b.Bytes())
	require.NoError(t, err)
	l.end(t)
	entries := read(t, dir, logfile.Options{})
	require.Len(t, entries, lines)
	for i, e := range entries {
		require.Equal(t, strconv.Itoa(i), string(e.Line))
	}
}
