package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDaemonInheritsNothing(t *testing.T) {
	dir, config := begin(t)
	// A descriptor as a script or C code would leave it: not close-on-exec.
	fd, err := unix.Open(dir, unix.O_RDONLY, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	t.Setenv("LD_PRELOAD_OF_CALLER", "x")

	d, err := Start(background, config)
	require.NoError(t, err)
	pid := pidOf(d)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	require.NoError(t, err)
	assert.Zero(t, flags&unix.FD_CLOEXEC, "our own descriptor is as it was")

	proc := filepath.Join("/proc", strconv.Itoa(pid))
	entries, err := os.ReadDir(filepath.Join(proc, "fd"))
	require.NoError(t, err)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(proc, "fd", e.Name()))
		require.NoError(t, err)
		own := strings.HasPrefix(target, "socket:") || strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/sys/fs/cgroup/")
		switch e.Name() {
		case "0":
			assert.Equal(t, "/dev/null", target)
		case "1", "2":
			assert.Equal(t, filepath.Join(config.Dir, logFile), target)
		default:
			assert.True(t, own, "descriptor %s is %s", e.Name(), target)
		}
	}
	var o owner
	require.NoError(t, readRecord(filepath.Join(config.Dir, ownerFile), &o))
	assert.Equal(t, []string{roleVariable + "=daemon", markVariable + "=" + o.ID}, procList(pid, "environ"))
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	require.NoError(t, err)
	assert.Equal(t, "/", cwd)
	session, err := unix.Getsid(pid)
	require.NoError(t, err)
	assert.Equal(t, pid, session)
	require.NoError(t, d.Close(background, false))
}

func TestIdentity(t *testing.T) {
	self, err := identify(os.Getpid())
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		change func(*identity)
		same   bool
	}{
		"itself":             {func(*identity) {}, true},
		"program not known":  {func(id *identity) { id.Exe = "" }, true},
		"other start time":   {func(id *identity) { id.Start++ }, false},
		"other boot":         {func(id *identity) { id.Boot = "x" }, false},
		"other program":      {func(id *identity) { id.Exe = "/bin/other" }, false},
		"other pid":          {func(id *identity) { id.PID = 1 }, false},
		"no pid":             {func(id *identity) { id.PID = 0 }, false},
		"negative pid":       {func(id *identity) { id.PID = -1 }, false},
		"pid beyond any":     {func(id *identity) { id.PID = 1 << 30 }, false},
		"kernel's own":       {func(id *identity) { id.PID = 2 }, false},
		"no start time":      {func(id *identity) { id.Start = 0 }, false},
		"boot without a pid": {func(id *identity) { *id = identity{Boot: id.Boot} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			id := self
			tt.change(&id)
			p, alive, err := attach(id)
			require.NoError(t, err)
			assert.Equal(t, tt.same, alive)
			if alive {
				p.release()
			}
		})
	}
}

func TestReusedPidIsLeftAlone(t *testing.T) {
	dir, config := begin(t)
	d, err := Start(background, config)
	require.NoError(t, err)
	require.NoError(t, d.Close(background, false))

	// The record of a daemon that died names a pid which is somebody else now.
	self, err := identify(os.Getpid())
	require.NoError(t, err)
	self.Start--
	require.NoError(t, writeRecord(filepath.Join(config.Dir, processFile), record{Version: recordVersion, Process: self}))
	d, err = Start(background, config)
	require.NoError(t, err)
	s, _ := d.Status()
	assert.False(t, s.Adopted)
	assert.Equal(t, []int{s.PID}, running(t, dir))
	require.NoError(t, d.Close(background, false))
}

func TestDaemonWhoseStarterDiedBeforeRecordingItIsFound(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, config Config, pid int){
		"by the next start": func(t *testing.T, config Config, pid int) {
			d, err := Start(background, config)
			require.NoError(t, err)
			s, _ := d.Status()
			assert.Equal(t, Status{State: Running, PID: pid, Adopted: true}, s)
			require.NoError(t, d.Close(background, false))
		},
		"by removal": func(t *testing.T, config Config, pid int) {
			require.NoError(t, Remove(background, RemoveOptions{Dir: config.Dir, Name: config.Name}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, config := begin(t)
			f, err := claim(background, config.Dir, config.Name)
			require.NoError(t, err)
			argv, err := config.Command(background)
			require.NoError(t, err)
			p, err := f.spawn(argv, config.Env)
			require.NoError(t, err)
			require.NoError(t, writeRecord(f.path(processFile), record{Version: recordVersion, Command: argv}))
			f.unlock()

			end(t, config, p.id.PID)
			assert.Empty(t, running(t, dir))
			gone(t, p.id.PID)
		})
	}
}

func TestStarterKilledWhileDaemonGetsReady(t *testing.T) {
	dir, config := begin(t)
	behave(t, dir, "mute")
	starter := startProgram(t, dir)
	recorded := func() bool {
		var rec record
		return readRecord(filepath.Join(config.Dir, processFile), &rec) == nil && rec.Process.PID != 0
	}
	require.Eventually(t, recorded, 10*1e9, 1e6)
	starter.kill()
	pids := running(t, dir)
	require.Len(t, pids, 1)
	ready := config.Ready
	config.Ready = func(ctx context.Context) error {
		// It cannot become ready, but it is the one that is asked.
		if len(running(t, dir)) == 1 && running(t, dir)[0] == pids[0] {
			return nil
		}
		return ready(ctx)
	}
	d, err := Start(background, config)
	require.NoError(t, err)
	assert.Equal(t, pids[0], pidOf(d))
	require.NoError(t, d.Close(background, false))
}

func TestZombieIsNotAlive(t *testing.T) {
	process, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := identify(process.Pid)
		return err != nil
	}, 10*1e9, 1e6)
	require.NoError(t, syscall.Kill(process.Pid, 0), "it is still there")
	_, err = process.Wait()
	require.NoError(t, err)
}

func TestParseStat(t *testing.T) {
	for line, want := range map[string]struct {
		state byte
		start uint64
		fails bool
	}{
		"7 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20":       {'S', 4711, false},
		"7 (a) b) Z) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20": {'R', 4711, false},
		"7 (\n) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 0":            {'Z', 0, false},
		"":            {fails: true},
		"7 (a) S 1 2": {fails: true},
		"7 (a":        {fails: true},
		"7 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 -1 20": {fails: true},
	} {
		state, start, err := parseStat([]byte(line))
		assert.Equal(t, want.fails, err != nil, line)
		assert.Equal(t, want.state, state, line)
		assert.Equal(t, want.start, start, line)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"))
	f.Add([]byte("7 (a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		state, start, err := parseStat(data)
		if err != nil {
			assert.Zero(t, state)
			assert.Zero(t, start)
		}
	})
}

func TestStarterKilledAtAnyMoment(t *testing.T) {
	dir, config := begin(t)
	// How long a start takes here, so that the kills spread over all of it.
	began := time.Now()
	whole := startProgram(t, dir)
	whole.report()
	whole.kill()
	span := time.Since(began)
	require.NoError(t, Remove(background, RemoveOptions{Dir: config.Dir, Name: config.Name}))

	const rounds = 40
	for i := range rounds {
		p := startProgram(t, dir)
		// Nothing is awaited: this is the moment that the round tries.
		time.Sleep(span * time.Duration(i) / rounds) // The moment of the kill.
		p.kill()
		if i%2 == 0 {
			d, err := Start(background, config)
			require.NoError(t, err)
			require.Equal(t, []int{pidOf(d)}, running(t, dir))
			require.NoError(t, d.Close(background, false))
		} else {
			require.NoError(t, Remove(background, RemoveOptions{Dir: config.Dir, Name: config.Name}))
		}
		require.Empty(t, running(t, dir))
	}
}
