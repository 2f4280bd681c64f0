package fake

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Program is what runs inside an instance: as its main process, by Exec, or as a
// child of another program. It returns its exit code.
//
// Its context ends when it is killed; a program must return then. It may use the
// process until it returns, from any of its goroutines. A program that panics
// ends with code 2, and its stack stands in its standard error.
type Program func(ctx context.Context, p *Process) int

// exitPanic is the code that Go's own runtime gives.
const exitPanic = 2

// builtin are the programs that every instance has.
var builtin = map[string]Program{
	"true":  func(context.Context, *Process) int { return 0 },
	"false": func(context.Context, *Process) int { return 1 },
	"echo": func(_ context.Context, p *Process) int {
		_, err := fmt.Fprintln(p.Stdout, strings.Join(p.Args[1:], " "))
		return codeOf(err)
	},
	"cat": func(_ context.Context, p *Process) int {
		_, err := io.Copy(p.Stdout, p.Stdin)
		return codeOf(err)
	},
	"env": func(_ context.Context, p *Process) int {
		for _, pair := range p.Env {
			if _, err := fmt.Fprintln(p.Stdout, pair); err != nil {
				return 1
			}
		}
		return 0
	},
	"sleep": func(ctx context.Context, p *Process) int {
		if len(p.Args) < 2 {
			fmt.Fprintln(p.Stderr, "sleep: missing operand")
			return 1
		}
		d, err := sleepTime(p.Args[1])
		if err != nil {
			fmt.Fprintf(p.Stderr, "sleep: invalid time interval %q\n", p.Args[1])
			return 1
		}
		var done <-chan time.Time
		if d >= 0 {
			timer := time.NewTimer(d)
			defer timer.Stop()
			done = timer.C
		}
		select {
		case <-done:
		case <-ctx.Done():
		}
		return 0
	},
}

// sleepTime reads what sleep(1) does: seconds, with an optional unit; negative
// for "infinity".
func sleepTime(text string) (time.Duration, error) {
	if text == "infinity" {
		return -1, nil
	}
	if strings.TrimLeft(text, "0123456789.") == "" {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration", text)
	}
	return d, nil
}

func codeOf(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

// lookUp finds the program of a command in an instance: by its path, for which a
// bare name is looked up in the PATH, then by the last part of it; among the
// image's own, the backend's and those that are built in.
func (b *Backend) lookUp(img *image, env []string, name string) (Program, bool) {
	for _, programs := range []map[string]Program{img.ownPrograms(), b.opts.Programs, builtin} {
		if program, ok := programs[name]; ok {
			return program, true
		}
		if program, ok := programs[path.Base(name)]; ok {
			return program, true
		}
		if strings.Contains(name, "/") || len(programs) == 0 {
			continue
		}
		for dir := range strings.SplitSeq(valueOf(env, "PATH"), ":") {
			if program, ok := programs[strings.TrimSuffix(path.Clean(dir), "/")+"/"+name]; ok {
				return program, true
			}
		}
	}
	return nil, false
}

// command is what a process of an instance executes.
type command struct {
	args    []string
	env     []string
	dir     string
	user    User
	program Program
}

// commandOf works out what a spec's process means with an image; the defaults
// are those of the main process where it is not the main process itself. The
// error names the field.
func (b *Backend) commandOf(img *image, process compute.Process, main *compute.Process) (command, error) {
	var c command
	config := img.setup()
	env := slices.Clone(config.Env)
	userName, dir := config.User, config.Dir
	if main != nil {
		env = merge(env, main.Env)
		if main.User != "" {
			userName = main.User
		}
		if main.Dir != "" {
			dir = main.Dir
		}
	}
	c.env = merge(env, process.Env)
	if process.User != "" {
		userName = process.User
	}
	if process.Dir != "" {
		dir = process.Dir
	}
	if dir == "" {
		dir = "/"
	}
	c.dir = dir
	if !has(c.env, "PATH") {
		c.env = append(c.env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	if process.TTY && !has(c.env, "TERM") {
		c.env = append(c.env, "TERM=xterm")
	}
	user, err := img.user(userName)
	if err != nil {
		return c, err
	}
	c.user = user
	if !has(c.env, "HOME") {
		c.env = append(c.env, "HOME="+user.Home)
	}
	slices.Sort(c.env)
	own := len(process.Command) == 0
	switch {
	case !own || main != nil:
		c.args = slices.Concat(process.Command, process.Args)
	case len(process.Args) > 0:
		c.args = slices.Concat(config.Entrypoint, process.Args)
	default:
		c.args = slices.Concat(config.Entrypoint, config.Cmd)
	}
	if len(c.args) == 0 && own && main == nil && (img == nil || img.form == compute.Disk) {
		// A guest that boots by itself: an idle main process.
		return c, nil
	}
	if len(c.args) == 0 {
		return c, resource.Faults{{Field: "process.command", Reason: "is required: the image has none"}}
	}
	program, ok := b.lookUp(img, c.env, c.args[0])
	switch {
	case ok:
		c.program = program
	case own && main == nil && len(config.Entrypoint)+len(config.Cmd) > 0:
		// The image's own command has no program: an idle main process.
	default:
		return c, resource.Faults{{Field: "process.command", Reason: noProgram(c.args[0])}}
	}
	return c, nil
}

// noProgram says that a command is not known, and how it can be.
func noProgram(name string) string {
	return fmt.Sprintf("is not in the image: %q; Options.Programs adds a Go function under this name, Image.Programs to one image", name)
}

func has(env []string, name string) bool {
	return slices.ContainsFunc(env, func(pair string) bool { return isPair(pair, name) })
}

// valueOf returns a variable of an environment, or "".
func valueOf(env []string, name string) string {
	for _, pair := range env {
		if isPair(pair, name) {
			return pair[len(name)+1:]
		}
	}
	return ""
}

func isPair(pair, name string) bool {
	return len(pair) > len(name) && pair[len(name)] == '=' && pair[:len(name)] == name
}

// merge sets variables in an environment.
func merge(env []string, set map[string]string) []string {
	out := env
	for _, name := range slices.Sorted(maps.Keys(set)) {
		pair := name + "=" + set[name]
		i := slices.IndexFunc(out, func(have string) bool {
			known, _, _ := strings.Cut(have, "=")
			return known == name
		})
		if i < 0 {
			out = append(out, pair)
		} else {
			out[i] = pair
		}
	}
	return out
}

// call runs a program and turns a panic into what a crashed process leaves.
func (p *Process) call(ctx context.Context, program Program) (code int) {
	defer func() {
		if cause := recover(); cause != nil {
			fmt.Fprintf(p.Stderr, "panic: %v\n\n%s", cause, debug.Stack())
			code = exitPanic
		}
	}()
	return program(ctx, p)
}

var errEnded = resource.Errorf(errdefs.ErrNotFound, "the process has ended")
