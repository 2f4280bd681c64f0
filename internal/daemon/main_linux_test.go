package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test binary is also the daemon that the tests start, and a second program
// that uses a folder.
const roleVariable = "DAEMON_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "daemon":
		fakeDaemon(os.Args[1], os.Args[2])
	case "owner":
		fakeOwner(os.Args[1])
	default:
		// The runtime opens its poller at the first use and keeps it, which is
		// no leak of ours.
		if r, w, err := os.Pipe(); err == nil {
			r.Close()
			w.Close()
		}
		os.Exit(m.Run())
	}
}

// fakeDaemon listens on a socket and tells each caller its pid. In dir it reads
// how to behave: "broken" makes it fail, "mute" never ready, "stubborn" deaf to
// SIGTERM, "chatty" fills its log.
func fakeDaemon(socket, dir string) {
	has := func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	}
	fmt.Println("daemon begins", os.Getpid())
	if has("broken") {
		for i := range 20 {
			fmt.Fprintf(os.Stderr, "fault %d\n", i)
		}
		fmt.Fprint(os.Stderr, "no \x1b[31mbrain")
		os.Exit(3)
	}
	if has("stubborn") {
		signal.Ignore(syscall.SIGTERM)
	}
	if has("mute") {
		time.Sleep(time.Hour) // It says nothing, for ever.
	}
	if has("chatty") {
		go func() {
			for {
				fmt.Println(strings.Repeat("x", 1000))
				time.Sleep(time.Millisecond) // The pace of its talk.
			}
		}()
	}
	os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			os.Exit(1)
		}
		fmt.Fprintln(conn, os.Getpid())
		conn.Close()
	}
}

// fakeConfig is the fake daemon in dir/d, told how to behave by files in dir.
func fakeConfig(dir string) Config {
	d := filepath.Join(dir, "d")
	return Config{
		Dir:  d,
		Name: "fake",
		Command: func(context.Context) ([]string, error) {
			self, err := os.Executable()
			return []string{self, filepath.Join(d, "sock"), dir}, err
		},
		Env: []string{roleVariable + "=daemon"},
		Ready: func(ctx context.Context) error {
			_, err := ask(ctx, filepath.Join(d, "sock"))
			return err
		},
		StartTimeout: 20 * time.Second,
		Grace:        5 * time.Second,
	}
}

// ask returns the pid that the fake daemon tells.
func ask(ctx context.Context, socket string) (pid int, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_, err = fmt.Fscan(conn, &pid)
	return pid, err
}

// order is what a test tells a second program, and report what that answers.
type order struct{ Do string }

type report struct {
	Status Status `json:"-"`
	PID    int
	State  string
	Count  int
	Own    bool
	Fault  string
}

// fakeOwner starts the daemon of dir and then obeys.
func fakeOwner(dir string) {
	d, err := Start(context.Background(), fakeConfig(dir))
	answer := json.NewEncoder(os.Stdout)
	tell := func(err error) {
		var r report
		if d != nil {
			s, _ := d.Status()
			r = report{PID: s.PID, State: s.State.String(), Count: s.Restarts, Own: !s.Adopted}
		}
		if err != nil {
			r.Fault = err.Error()
		}
		_ = answer.Encode(r)
	}
	tell(err)
	for orders := json.NewDecoder(os.Stdin); ; {
		var o order
		if orders.Decode(&o) != nil {
			return
		}
		switch o.Do {
		case "close":
			tell(d.Close(context.Background(), false))
		case "leave":
			tell(d.Close(context.Background(), true))
		case "restarted":
			for {
				s, changed := d.Status()
				if s.State == Running && s.Restarts > 0 || s.State == Failed || s.State == Stopped {
					break
				}
				<-changed
			}
			tell(d.Health())
		}
	}
}

// program is a second program that uses the folder.
type program struct {
	t       *testing.T
	cmd     *exec.Cmd
	orders  *json.Encoder
	reports *json.Decoder
}

// startProgram starts a second program without waiting for its first report.
func startProgram(t *testing.T, dir string) *program {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, dir)
	cmd.Env = append(os.Environ(), roleVariable+"=owner")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &program{t: t, cmd: cmd, orders: json.NewEncoder(in), reports: json.NewDecoder(bufio.NewReader(out))}
	t.Cleanup(p.kill)
	return p
}

func (p *program) report() report {
	p.t.Helper()
	var r report
	require.NoError(p.t, p.reports.Decode(&r))
	return r
}

func (p *program) do(what string) report {
	p.t.Helper()
	require.NoError(p.t, p.orders.Encode(order{Do: what}))
	return p.report()
}

// kill ends the program as kill -9 does, and returns when it is gone.
func (p *program) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// begin makes a folder for a fake daemon and sees to it that nothing is left.
func begin(t *testing.T) (dir string, config Config) {
	t.Helper()
	before := openFiles(t)
	dir = t.TempDir()
	t.Cleanup(func() {
		if t.Failed() {
			for _, pid := range running(t, dir) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return
		}
		require.NoError(t, Remove(context.Background(), RemoveOptions{Dir: filepath.Join(dir, "d"), Name: "fake"}))
		require.Empty(t, running(t, dir), "processes are left")
		// A child that another value has ended is reaped a moment later.
		require.Eventually(t, func() bool { return openFiles(t) <= before }, 10*time.Second, time.Millisecond, "descriptors are left")
	})
	return dir, fakeConfig(dir)
}

// running lists the live fake daemons of dir.
func running(t *testing.T, dir string) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		argv := procList(pid, "cmdline")
		if len(argv) == 3 && argv[2] == dir {
			pids = append(pids, pid)
		}
	}
	return pids
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// begun counts how often a fake daemon was started, by its log.
func begun(t *testing.T, config Config) int {
	t.Helper()
	file, err := os.Open(filepath.Join(config.Dir, logFile))
	require.NoError(t, err)
	defer file.Close()
	data, err := io.ReadAll(file)
	require.NoError(t, err)
	return strings.Count(string(data), "daemon begins")
}

func behave(t *testing.T, dir, how string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, how), nil, 0o600))
}

// until waits for a status by the value's own signal.
func until(t *testing.T, d *Daemon, want func(Status) bool) Status {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		s, changed := d.Status()
		if want(s) {
			return s
		}
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(t, "status never came", "%+v", s)
		}
	}
}

func restarted(s Status) bool { return s.State == Running && s.Restarts > 0 }

// gone waits until a pid names no process, not even a zombie.
func gone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, 10*time.Second, time.Millisecond)
}

func pidOf(d *Daemon) int {
	s, _ := d.Status()
	return s.PID
}
