// Package guest holds the programs that conformance cases run inside
// instances.
//
// They are one program with sub commands, selected by the second argument, and
// written against [Env] instead of package os. The command in cmd/guest binds
// Env to a Linux process: it is the static binary of the test image that real
// providers boot. A provider that has no processes binds Env to what it has and
// calls [Main]; the same case then sees the same output and the same exit code.
//
// # Conventions
//
// Exit codes are those of a shell: 0 success, 1 failure (with a message on
// standard error), [ExitUsage] bad arguments, [ExitUnsupported] the environment
// offers no such thing, [ExitUnknown] no such sub command, 128+n ended by
// signal n.
//
// A signal that a sub command does not handle itself has Linux' default effect:
// CHLD, CONT, URG, WINCH and those of job control are ignored, the others end
// the program with 128+n.
// That is done by exit code, as the first process of a PID namespace cannot
// die by most signals. KILL is no signal here but the end of the context given
// to Main.
//
// Sub commands that a case must synchronise with print a line once their
// signal handling is in place: "ready", or "listening ADDRESS".
//
// Durations are written as by [time.Duration.String], sizes are plain decimal
// numbers of bytes. [Usage] lists all sub commands.
package guest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// Exit codes beside 0, 1 and 128+n.
const (
	// ExitUsage says that the arguments of a sub command are wrong.
	ExitUsage = 2
	// ExitUnsupported says that the function of Env that a sub command needs is
	// nil.
	ExitUnsupported = 125
	// ExitUnknown says that there is no such sub command.
	ExitUnknown = 127
	// ExitKilled is the code of a program whose context has ended.
	ExitKilled = 128 + 9
)

// Env is all that a program sees of the machine it runs on.
//
// Only Args is required. A nil stream is empty or discards; a nil function makes
// the sub commands that need it end with ExitUnsupported, unless its comment
// says otherwise.
type Env struct {
	// Args is the whole command line: the program's path, the sub command, its
	// arguments.
	Args []string
	// Environ holds the environment as NAME=value, in the order in which "env"
	// prints it.
	Environ []string
	// Dir is the absolute working directory; empty means "/".
	Dir string
	// User is who the program runs as; the zero value is root.
	User User
	// PID is the process number as the program sees it itself.
	PID int

	// Stdin, Stdout and Stderr are the standard streams. A program that is ended
	// in the middle of a Read or Write leaves that one call behind when Main
	// returns: a stream that can block must be safe for that, and must release
	// the call once Main has returned, as a kernel does when it closes the files
	// of a process.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// TTY says for standard input, output and error whether it is a terminal.
	TTY [3]bool
	// Size returns the size of the terminal in characters. Nil: no size is known.
	Size func() (columns, rows int)

	// Signals delivers what is sent to the program, but for KILL. Nil: nothing
	// is ever sent. A closed channel counts as nil.
	Signals <-chan Signal
	// Raise ends the program by a signal and does not return if that succeeds.
	// Nil, or an implementation that returns: Main returns 128+n instead.
	Raise func(Signal) error

	// Files is the file tree. Nil: sub commands that need it are unsupported.
	Files Files
	// Disk is what lies below the file tree. Nil: sub commands that need it are
	// unsupported.
	Disk Disk
	// Hostname returns the name of the machine.
	Hostname func() (string, error)

	// Listen, ListenPacket, Dial and LookupHost are the network, with the semantics of
	// the functions of those names in package net.
	Listen       func(network, address string) (net.Listener, error)
	ListenPacket func(network, address string) (net.PacketConn, error)
	Dial         func(ctx context.Context, network, address string) (net.Conn, error)
	LookupHost   func(ctx context.Context, host string) ([]string, error)

	// Alloc takes that many bytes of memory into use and keeps them until the
	// program ends. An environment that enforces a memory limit ends the
	// program's context when it is exceeded.
	Alloc func(bytes int64) error
	// Spin uses one processor for that long, or until ctx ends; negative means
	// without end. Nil: Main spins.
	Spin func(ctx context.Context, d time.Duration) error
	// Spawn starts this program again with the given arguments (the sub command
	// first) and returns at once. The child shares the environment, standard
	// output and standard error of its parent, has an empty standard input, and
	// outlives its parent.
	Spawn func(args ...string) error

	// Limits returns what the program is limited to. Nil: they are read from the
	// cgroup files below /sys/fs/cgroup in Files.
	Limits func() (Limits, error)
	// Hardening examines what the program is kept from doing.
	Hardening func() (Hardening, error)
}

// User is who a program runs as.
type User struct {
	// UID and GID are the numbers of the user and the primary group.
	UID, GID int
	// Groups are the numbers of the supplementary groups.
	Groups []int
}

// Files is the part of a file tree that the programs use. Paths are absolute and
// slash-separated. Errors are those of io/fs: fs.ErrNotExist, fs.ErrPermission
// and so on are found by errors.Is.
type Files interface {
	// ReadFile returns the content of a file.
	ReadFile(path string) ([]byte, error)
	// WriteFile replaces the content of a file, or creates it. The folder must
	// exist. What was written outlives a machine that is switched off.
	WriteFile(path string, data []byte, perm fs.FileMode) error
	// ReadDir lists a folder in the order of names.
	ReadDir(path string) ([]fs.DirEntry, error)
	// Stat does not follow a symbolic link at the end of the path.
	Stat(path string) (fs.FileInfo, error)
}

// Disk moves the content of files to and from the disk, past what memory keeps of
// it.
type Disk interface {
	// Fill makes a file that long, or replaces it, and returns when it is on the
	// disk.
	Fill(path string, bytes int64) error
	// Drain reads a file from the disk, to its end.
	Drain(path string) error
}

// command is one sub command. Exactly one of run and handle is set: handle marks
// those that receive the signals themselves.
type command struct {
	args     string
	min, max int // number of arguments; max -1: any
	help     string
	run      func(ctx context.Context, p *process, args []string) int
	handle   func(ctx context.Context, p *process, args []string) int
}

// commands has all sub commands but "help", which reads this table.
var commands = func() map[string]command {
	all := map[string]command{}
	for _, group := range []map[string]command{
		lifeCommands, streamCommands, selfCommands, fileCommands, netCommands, loadCommands,
	} {
		maps.Copy(all, group)
	}
	return all
}()

// Usage returns one line for each sub command: its arguments and what it does.
func Usage() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		c := commands[name]
		fmt.Fprintf(&b, "%-34s %s\n", strings.TrimSpace(name+" "+c.args), c.help)
	}
	return b.String()
}

// Main runs the program that env.Args names and returns its exit code. The end
// of ctx is the program's death by KILL; Main then returns ExitKilled.
//
// When Main returns, nothing of the program is left but at most one call that is
// blocked in one of the standard streams, and what Spawn started.
func Main(ctx context.Context, env Env) int {
	p := newProcess(env)
	if len(env.Args) < 2 {
		fmt.Fprint(p.stderr, "usage: guest COMMAND [ARGUMENT...]\n", Usage())
		return ExitUsage
	}
	name, args := env.Args[1], env.Args[2:]
	c, ok := commands[name]
	switch {
	case name == "help":
		p.printf("%s", Usage())
		return p.verdict(ctx, 0)
	case !ok:
		fmt.Fprintf(p.stderr, "guest: unknown command %q\n", name)
		return ExitUnknown
	case len(args) < c.min, c.max >= 0 && len(args) > c.max:
		fmt.Fprintf(p.stderr, "usage: guest %s\n", strings.TrimSpace(name+" "+c.args))
		return ExitUsage
	}
	return p.live(ctx, c, args)
}
