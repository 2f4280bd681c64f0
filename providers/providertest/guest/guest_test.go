package guest_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/univirt/univirt/providers/providertest/guest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// step is what a case does once the program has printed something.
type step struct {
	after  string // what standard output must contain first
	signal guest.Signal
	do     func(t *testing.T, output string)
}

// outcome is what a program must print, and its exit code. A text that begins
// with "~" need only be contained, if need be nothing.
type outcome struct {
	code           int
	stdout, stderr string
}

// programs says of each sub command what it does. Every case runs in this
// process and as the binary of the test image, in a folder with the files
// "greeting" ("hello\n") and "sub/empty" (""), as the current user.
var programs = []struct {
	name    string
	args    string // separated by "|"
	environ []string
	stdin   string
	steps   []step
	want    outcome
}{
	{name: "no command", args: "", want: outcome{2, "", "~usage: guest"}},
	{name: "unknown command", args: "sh|-c|true", want: outcome{127, "", "guest: unknown command \"sh\"\n"}},
	{name: "too few arguments", args: "exit", want: outcome{2, "", "usage: guest exit CODE\n"}},
	{name: "too many arguments", args: "pwd|x", want: outcome{2, "", "usage: guest pwd\n"}},
	{name: "help", args: "help", want: outcome{0, guest.Usage(), ""}},

	{name: "exit 0", args: "exit|0", want: outcome{code: 0}},
	{name: "exit 255", args: "exit|255", want: outcome{code: 255}},
	{name: "exit 256", args: "exit|256", want: outcome{2, "", "guest exit: bad exit code \"256\"\n"}},
	{name: "exit -1", args: "exit|-1", want: outcome{2, "", "guest exit: bad exit code \"-1\"\n"}},

	{name: "sleep", args: "sleep|1ms", want: outcome{code: 0}},
	{name: "sleep badly", args: "sleep|long", want: outcome{2, "", "guest sleep: bad duration \"long\"\n"}},
	{name: "late", args: "late|1ms|done", want: outcome{0, "done\n", ""}},
	{name: "late badly", args: "late|x|done", want: outcome{2, "", "guest late: bad duration \"x\"\n"}},
	{name: "ready ended by TERM", args: "ready|1ms",
		steps: []step{{after: "ready\n", signal: guest.TERM}}, want: outcome{143, "ready\n", ""}},
	{name: "ready ended by INT", args: "ready|0s",
		steps: []step{{after: "ready\n", signal: guest.INT}}, want: outcome{130, "ready\n", ""}},
	{name: "ready ended by HUP", args: "ready|0s",
		steps: []step{{after: "ready\n", signal: guest.HUP}}, want: outcome{129, "ready\n", ""}},
	{name: "ready ended by USR1", args: "ready|0s",
		steps: []step{{after: "ready\n", signal: guest.USR1}}, want: outcome{138, "ready\n", ""}},
	{name: "ready ended by KILL", args: "ready|0s",
		steps: []step{{after: "ready\n", signal: guest.KILL}}, want: outcome{137, "ready\n", ""}},
	{name: "ready not ended by WINCH", args: "ready|0s",
		steps: []step{{after: "ready\n", signal: guest.WINCH}, {signal: guest.TERM}}, want: outcome{143, "ready\n", ""}},
	{name: "ready badly", args: "ready|x", want: outcome{2, "", "guest ready: bad duration \"x\"\n"}},
	{name: "trap", args: "trap",
		steps: []step{{after: "ready\n", signal: guest.TERM}}, want: outcome{0, "ready\ntrapped TERM\n", ""}},
	{name: "trap with a code", args: "trap|7",
		steps: []step{{after: "ready\n", signal: guest.QUIT}}, want: outcome{7, "ready\ntrapped QUIT\n", ""}},
	{name: "trap killed", args: "trap|7",
		steps: []step{{after: "ready\n", signal: guest.KILL}}, want: outcome{137, "ready\n", ""}},
	{name: "trap badly", args: "trap|x", want: outcome{2, "", "guest trap: bad exit code \"x\"\n"}},
	{name: "ignore", args: "ignore",
		steps: []step{{after: "ready\n", signal: guest.TERM}, {signal: guest.INT}, {signal: guest.KILL}},
		want:  outcome{137, "ready\n", ""}},
	{name: "signals", args: "signals",
		steps: []step{
			{after: "ready\n", signal: guest.USR2}, {after: "USR2\n", signal: guest.HUP},
			{after: "HUP\n", signal: guest.WINCH}, {after: "WINCH\n", signal: guest.TERM}},
		want: outcome{0, "ready\nUSR2\nHUP\nWINCH\nTERM\n", ""}},
	{name: "die by TERM", args: "die|TERM", want: outcome{code: 143}},
	{name: "die by SIGSEGV", args: "die|SIGSEGV", want: outcome{code: 139}},
	{name: "die by abrt", args: "die|abrt", want: outcome{code: 134}},
	{name: "die by KILL", args: "die|KILL", want: outcome{code: 137}},
	{name: "die badly", args: "die|9", want: outcome{2, "", "guest die: bad signal \"9\"\n"}},
	{name: "background", args: "background|1ms", want: outcome{0, "background done\n", ""}},
	{name: "background badly", args: "background|x", want: outcome{2, "", "guest background: bad duration \"x\"\n"}},
	{name: "orphan", args: "orphan|1ms", want: outcome{0, "background done\n", ""}},
	{name: "orphan badly", args: "orphan|x", want: outcome{2, "", "guest orphan: bad duration \"x\"\n"}},

	{name: "echo", args: "echo|a b|c", want: outcome{0, "a b c\n", ""}},
	{name: "echo nothing", args: "echo", want: outcome{0, "\n", ""}},
	{name: "printf", args: "printf|no newline %s", want: outcome{0, "no newline %s", ""}},
	{name: "both", args: "both|2", want: outcome{0, "out 1\nout 2\n", "err 1\nerr 2\n"}},
	{name: "both badly", args: "both|-1", want: outcome{2, "", "guest both: bad number \"-1\"\n"}},
	{name: "lines", args: "lines|3|1ms", want: outcome{0, "line 1\nline 2\nline 3\n", ""}},
	{name: "lines ended", args: "lines|2|1h",
		steps: []step{{after: "line 1\n", signal: guest.TERM}}, want: outcome{143, "line 1\n", ""}},
	{name: "lines of a bad number", args: "lines|x|1s", want: outcome{2, "", "guest lines: bad number \"x\"\n"}},
	{name: "lines at a bad interval", args: "lines|1|x", want: outcome{2, "", "guest lines: bad duration \"x\"\n"}},
	{name: "cat", args: "cat", stdin: "one\ntwo", want: outcome{0, "one\ntwo", ""}},
	{name: "cat nothing", args: "cat", want: outcome{code: 0}},
	{name: "flood", args: "flood|100000", want: outcome{0, pattern("stdout", 100_000), ""}},
	{name: "flood standard error", args: "flood|100|stderr", want: outcome{0, "", pattern("stderr", 100)}},
	{name: "flood both", args: "flood|70000|both", want: outcome{0, pattern("stdout", 70_000), pattern("stderr", 70_000)}},
	{name: "flood nothing", args: "flood|0|both", want: outcome{code: 0}},
	{name: "flood a bad size", args: "flood|-1", want: outcome{2, "", "guest flood: bad size \"-1\"\n"}},
	{name: "flood a bad stream", args: "flood|1|stdin", want: outcome{2, "", "guest flood: bad stream \"stdin\"\n"}},

	{name: "args", args: "args|a b||\"\n\xff<", want: outcome{0, "[\"a b\",\"\",\"\\\"\\n\\ufffd\\u003c\"]\n", ""}},
	{name: "args none", args: "args", want: outcome{0, "[]\n", ""}},
	{name: "env", args: "env", environ: []string{"A=b", "C="}, want: outcome{0, "A=b\nC=\n", ""}},
	{name: "env empty", args: "env", environ: []string{}, want: outcome{code: 0}},
	{name: "env of one", args: "env|A", environ: []string{"AA=x", "A=b\n=c"}, want: outcome{0, "b\n=c\n", ""}},
	{name: "env of none", args: "env|B", environ: []string{"A=b"}, want: outcome{code: 1}},
	{name: "id", args: "id", want: outcome{0, fmt.Sprintf("~uid=%d gid=%d groups=", os.Getuid(), os.Getgid()), ""}},
	{name: "pid", args: "pid", want: outcome{0, "~\n", ""}},
	{name: "hostname", args: "hostname", want: outcome{0, hostname() + "\n", ""}},
	{name: "tty", args: "tty", want: outcome{0, "stdin=false stdout=false stderr=false\nsize=0x0\n", ""}},
	{name: "tty badly", args: "tty|x", want: outcome{2, "", "guest tty: bad argument \"x\"\n"}},

	{name: "env several", args: "env|C|A", environ: []string{"A=b", "C=", "CA=x"}, want: outcome{0, `["","b"]` + "\n", ""}},
	{name: "env several, one not set", args: "env|A|D", environ: []string{"A=b", "C="}, want: outcome{code: 1}},
	{name: "read several", args: "read|greeting|greeting", want: outcome{0, "hello\nhello\n", ""}},
	{name: "read", args: "read|greeting", want: outcome{0, "hello\n", ""}},
	{name: "read through the root", args: "read|/../..$DIR/./greeting", want: outcome{0, "hello\n", ""}},
	{name: "read what is absent", args: "read|none", want: outcome{1, "", "~guest read: "}},
	{name: "write", args: "write|sub/new|text", want: outcome{code: 0}},
	{name: "write without a folder", args: "write|none/new|text", want: outcome{1, "", "~guest write: "}},
	{name: "fill", args: "fill|sub/new|100", want: outcome{code: 0}},
	{name: "fill without a folder", args: "fill|none/new|100", want: outcome{1, "", "~guest fill: "}},
	{name: "fill badly", args: "fill|new|-1", want: outcome{2, "", "guest fill: bad size \"-1\"\n"}},
	{name: "drain", args: "drain|greeting", want: outcome{code: 0}},
	{name: "drain what is absent", args: "drain|none", want: outcome{1, "", "~guest drain: "}},
	{name: "ls", args: "ls|.", want: outcome{0, "greeting\nsub/\n", ""}},
	{name: "ls what is absent", args: "ls|none", want: outcome{1, "", "~guest ls: "}},
	{name: "stat of a file", args: "stat|greeting", want: outcome{0, "file 0644 6\n", ""}},
	{name: "stat of a folder", args: "stat|sub", want: outcome{0, "dir 0755 0\n", ""}},
	{name: "stat of what is absent", args: "stat|none", want: outcome{1, "", "~guest stat: "}},

	{name: "listen", args: "listen|127.0.0.1:0",
		steps: []step{{after: "\n", do: talk}, {signal: guest.TERM}},
		want:  outcome{143, "~listening 127.0.0.1:", ""}},
	{name: "listen badly", args: "listen|127.0.0.1:none", want: outcome{1, "", "~guest listen: "}},
	{name: "answer badly", args: "answer|127.0.0.1:none", want: outcome{1, "", "~guest answer: "}},
	{name: "dial badly", args: "dial|127.0.0.1:none|x", want: outcome{1, "", "~guest dial: "}},
	{name: "send badly", args: "send|127.0.0.1:none|1", want: outcome{1, "", "~guest send: "}},
	{name: "send too little", args: "send|127.0.0.1:1|-1", want: outcome{2, "", "guest send: bad size \"-1\"\n"}},
	{name: "resolve", args: "resolve|localhost", want: outcome{0, "~127.0.0.1\n", ""}},
	{name: "resolve an address", args: "resolve|192.0.2.1", want: outcome{0, "192.0.2.1\n", ""}},
	{name: "resolve what is no name", args: "resolve|no name", want: outcome{1, "", "~guest resolve: "}},

	{name: "alloc", args: "alloc|1000000",
		steps: []step{{after: "allocated 1000000\n", signal: guest.TERM}}, want: outcome{143, "allocated 1000000\n", ""}},
	{name: "alloc nothing", args: "alloc|0",
		steps: []step{{after: "allocated 0\n", signal: guest.KILL}}, want: outcome{137, "allocated 0\n", ""}},
	{name: "alloc badly", args: "alloc|-1", want: outcome{2, "", "guest alloc: bad size \"-1\"\n"}},
	{name: "alloc too much", args: "alloc|9223372036854775807", want: outcome{1, "", "~guest alloc: "}},
	{name: "spin", args: "spin|5ms", want: outcome{code: 0}},
	{name: "spin badly", args: "spin|-1s", want: outcome{2, "", "guest spin: bad duration \"-1s\"\n"}},
	{name: "limits", args: "limits", want: outcome{0, `~"memory":`, ""}},
	{name: "hardening", args: "hardening", want: outcome{0, `~"seccomp":`, ""}},
}

func pattern(stream string, size int64) string {
	text, err := io.ReadAll(guest.Flood(stream, size))
	if err != nil {
		panic(err) // a reader from memory
	}
	return string(text)
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "~"
	}
	return name
}

// talk sends a line to the echo server that the output names.
func talk(t *testing.T, output string) {
	address := strings.TrimSpace(strings.TrimPrefix(output, "listening "))
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "hello")
	require.NoError(t, err)
	answer := make([]byte, 5)
	_, err = io.ReadFull(conn, answer)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(answer))
}

// running is a program under way.
type running interface {
	// await waits until standard output contains the text and returns all of it.
	await(t *testing.T, text string) string
	signal(t *testing.T, sig guest.Signal)
	// wait returns when the program and its children have ended.
	wait(t *testing.T) outcome
}

// invocation is how to start a program.
type invocation struct {
	args    []string
	dir     string
	environ []string
	stdin   io.Reader
}

// runners are the ways to run a program.
var runners = map[string]func(t *testing.T, in invocation) running{
	"in process": runInProcess,
	"as binary":  runBinary,
}

// patience is more than any step of a program takes on a busy machine.
const patience = time.Minute

func TestPrograms(t *testing.T) {
	for kind, start := range runners {
		t.Run(kind, func(t *testing.T) {
			for _, c := range programs {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					dir := t.TempDir()
					in := invocation{args: []string{guestPath}, dir: dir, environ: c.environ, stdin: strings.NewReader(c.stdin)}
					if c.args != "" {
						in.args = append(in.args, strings.Split(strings.ReplaceAll(c.args, "$DIR", dir), "|")...)
					}
					program := start(t, in)
					for _, s := range c.steps {
						output := program.await(t, s.after)
						if s.do != nil {
							s.do(t, output)
						} else {
							program.signal(t, s.signal)
						}
					}
					got := program.wait(t)
					assert.Equal(t, c.want.code, got.code)
					assertText(t, c.want.stdout, got.stdout)
					assertText(t, c.want.stderr, got.stderr)
				})
			}
		})
	}
}

func assertText(t *testing.T, want, got string) {
	t.Helper()
	if part, ok := strings.CutPrefix(want, "~"); ok {
		assert.Contains(t, got, part)
	} else {
		assert.Equal(t, want, got)
	}
}

// Every sub command has a case, and every command that Usage names exists.
func TestAllProgramsAreTested(t *testing.T) {
	tested := map[string]bool{}
	for _, c := range programs {
		name, _, _ := strings.Cut(c.args, "|")
		tested[name] = true
	}
	elsewhere := map[string]string{"pwd": "TestWorkingDirectory", "dial": "TestDial"}
	for line := range strings.Lines(guest.Usage()) {
		name := strings.Fields(line)[0]
		assert.True(t, tested[name] || elsewhere[name] != "", name)
	}
}

func TestWorkingDirectory(t *testing.T) {
	for kind, start := range runners {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			got := start(t, invocation{args: []string{guestPath, "pwd"}, dir: dir}).wait(t)
			assert.Equal(t, outcome{0, dir + "\n", ""}, got)
		})
	}
}

func TestWrittenFilesCanBeRead(t *testing.T) {
	for kind, start := range runners {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			run := func(args ...string) outcome {
				return start(t, invocation{args: append([]string{guestPath}, args...), dir: dir}).wait(t)
			}
			require.Equal(t, outcome{}, run("write", "note", "text"))
			require.Equal(t, outcome{}, run("write", "note", "other"))
			assert.Equal(t, outcome{stdout: "other"}, run("read", dir+"/note"))
			assert.Regexp(t, `^file 0[0-7]{3} 5\n$`, run("stat", "note").stdout)
		})
	}
}

func TestDial(t *testing.T) {
	for kind, start := range runners {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			server := start(t, invocation{args: []string{guestPath, "listen", "127.0.0.1:0"}, dir: dir})
			address := strings.TrimSpace(strings.TrimPrefix(server.await(t, "\n"), "listening "))
			dial := func() outcome {
				return start(t, invocation{args: []string{guestPath, "dial", address, "hello"}, dir: dir}).wait(t)
			}
			assert.Equal(t, outcome{stdout: "hello\n"}, dial())
			// More than what lies between the two can hold.
			sent := start(t, invocation{args: []string{guestPath, "send", address, "20000000"}, dir: dir}).wait(t)
			assert.Equal(t, outcome{}, sent)
			server.signal(t, guest.TERM)
			require.Equal(t, 143, server.wait(t).code)
			sent = start(t, invocation{args: []string{guestPath, "send", address, "1"}, dir: dir}).wait(t)
			assert.Equal(t, 1, sent.code)
			got := dial()
			assert.Equal(t, 1, got.code)
			assert.Contains(t, got.stderr, "refused")
		})
	}
}

// A connection that is open when the listener is ended does not hold it up.
func TestAnswer(t *testing.T) {
	for kind, start := range runners {
		t.Run(kind, func(t *testing.T) {
			server := start(t, invocation{args: []string{guestPath, "answer", "127.0.0.1:0"}, dir: t.TempDir()})
			conn, err := net.Dial("udp", strings.TrimSpace(strings.TrimPrefix(server.await(t, "\n"), "answering ")))
			require.NoError(t, err)
			defer conn.Close()
			for _, text := range []string{"hello", "again"} {
				_, err = conn.Write([]byte(text))
				require.NoError(t, err)
				back := make([]byte, 100)
				n, err := conn.Read(back)
				require.NoError(t, err)
				assert.Equal(t, text, string(back[:n]))
			}
			server.signal(t, guest.TERM)
			require.Equal(t, 143, server.wait(t).code)
		})
	}
}

func TestListenEndsItsConnections(t *testing.T) {
	for kind, start := range runners {
		t.Run(kind, func(t *testing.T) {
			server := start(t, invocation{args: []string{guestPath, "listen", "127.0.0.1:0"}, dir: t.TempDir()})
			address := strings.TrimSpace(strings.TrimPrefix(server.await(t, "\n"), "listening "))
			conn, err := net.Dial("tcp", address)
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "x")
			require.NoError(t, err)
			_, err = io.ReadFull(conn, make([]byte, 1))
			require.NoError(t, err)
			server.signal(t, guest.TERM)
			assert.Equal(t, 143, server.wait(t).code)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
			_, err = conn.Read(make([]byte, 1))
			assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		})
	}
}

// A reader that goes away ends a program as SIGPIPE does.
func TestBrokenPipe(t *testing.T) {
	for kind, start := range map[string]func(t *testing.T, in invocation) (io.Closer, running){
		"in process": runInProcessWithPipe, "as binary": runBinaryWithPipe,
	} {
		t.Run(kind, func(t *testing.T) {
			output, program := start(t, invocation{args: []string{guestPath, "flood", strconv.Itoa(10 << 20)}, dir: t.TempDir()})
			require.NoError(t, output.Close())
			assert.Equal(t, 141, program.wait(t).code)
		})
	}
}

// A program that is blocked because nobody reads its output is ended by a signal
// as any other.
func TestBlockedProgramsCanBeEnded(t *testing.T) {
	for kind, start := range map[string]func(t *testing.T, in invocation) (io.Closer, running){
		"in process": runInProcessWithPipe, "as binary": runBinaryWithPipe,
	} {
		for sig, code := range map[guest.Signal]int{guest.TERM: 143, guest.KILL: 137} {
			t.Run(kind+", "+string(sig), func(t *testing.T) {
				output, program := start(t, invocation{args: []string{guestPath, "flood", strconv.Itoa(10 << 20)}, dir: t.TempDir()})
				defer output.Close()
				program.await(t, "stdout")
				program.signal(t, sig)
				assert.Equal(t, code, program.wait(t).code)
			})
		}
	}
}

func TestFlood(t *testing.T) {
	text := pattern("stdout", 1<<20)
	require.Len(t, text, 1<<20)
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		assert.Len(t, line, 64)
		assert.False(t, seen[line], "each line occurs once")
		seen[line] = true
	}
	for line := range strings.Lines(pattern("stderr", 1<<16)) {
		assert.False(t, seen[line], "and on one stream only")
	}
	odd, err := io.ReadAll(iotest.OneByteReader(guest.Flood("stdout", 1000)))
	require.NoError(t, err)
	assert.Equal(t, text[:1000], string(odd), "the pattern does not depend on how it is read")
}
