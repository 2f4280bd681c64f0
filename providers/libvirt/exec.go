//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.Execer = (*instance)(nil)

// Exec implements compute.Execer, where something in the guest answers.
func (i *instance) Exec(ctx context.Context, spec compute.ExecSpec) (compute.Execution, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return nil, i.fail("exec", err)
	}
	defer done()
	if err := i.p.checkExec(spec); err != nil {
		return nil, i.fail("exec", err)
	}
	if err := i.reach(ctx); err != nil {
		return nil, i.fail("exec", err)
	}
	e, err := i.agent().exec(ctx, spec)
	if err != nil {
		return nil, i.fail("exec", err)
	}
	return e, nil
}

// reach is the error of what needs the guest while that does not run.
func (i *instance) reach(ctx context.Context) error {
	d, err := i.load(ctx)
	if err != nil {
		return err
	}
	_, err = compute.CheckTransition(settled(d.state), compute.OpExec)
	return err
}

// variable is what the shell of a guest takes for the name of a variable.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// checkExec finds what is wrong with a spec, and what no agent can do.
func (p *Provider) checkExec(spec compute.ExecSpec) error {
	if p.inProcess() {
		return resource.Unsupported("exec", noGuests)
	}
	if err := spec.Validate().Err(); err != nil {
		return err
	}
	field, reason, length := "", "", 0
	for _, words := range [][]string{spec.Process.Command, spec.Process.Args} {
		for _, word := range words {
			length += len(word) + 1
		}
	}
	for name, value := range spec.Process.Env {
		length += len(name) + len(value) + 2
	}
	switch {
	case length > mostCommand:
		field, reason = "process.args", fmt.Sprintf("qemu-guest-agent takes no more than %d bytes together with the command and the environment", mostCommand)
	case spec.Process.TTY:
		field, reason = "process.tty", noTerminal
	case spec.Process.User != "":
		field, reason = "process.user", noUser
	}
	for name := range spec.Process.Env {
		if !variable.MatchString(name) {
			field, reason = resource.MapField("process.env", name), "a shell in the guest carries it, to which it is no name"
		}
	}
	if field != "" {
		return &resource.Error{Kind: errors.ErrUnsupported, Field: field, Err: errors.New(reason)}
	}
	return nil
}

// launcher is what a shell in the guest does to start a program, whose process it
// becomes. The agent by itself returns output when a process has ended, and no more
// than 16 MiB of it.
//
// Output goes through a pipe and a process that copies it into a file, which the
// agent can read from meanwhile. Those processes are nobody's children, so that the
// program has none that it did not make, and end when nobody holds the output open
// any more, which the file "end" says. The folder goes by itself, whatever becomes
// of the host.
//
// The arguments are the folder, whether there is input, output and a stream for
// errors, the working directory, variables, "--" and the program.
const launcher = `
_uv_d=$1 _uv_i=$2 _uv_o=$3 _uv_e=$4 _uv_w=$5
shift 5
(
	cd "$_uv_w" || exit 124
	until [ "$1" = -- ]; do export "$1"; shift; done
	case $2 in
	*/*) [ -f "$2" ] && [ -x "$2" ] ;;
	*) command -v "$2" ;;
	esac || exit 127
) >/dev/null 2>&1 || exit $?
_uv_m=$(umask)
umask 077
mkdir "$_uv_d" || exit 125
_uv_0=/dev/null _uv_1=/dev/null _uv_2=/dev/null
if [ "$_uv_i" = 1 ]; then _uv_0=$_uv_d/0; mkfifo "$_uv_0" || exit 125; fi
if [ "$_uv_o" = 1 ]; then _uv_1=$_uv_d/1; mkfifo "$_uv_1" || exit 125; fi
if [ "$_uv_e" = 1 ]; then _uv_2=$_uv_d/2; mkfifo "$_uv_2" || exit 125; fi
: >"$_uv_d/err"
: >"$_uv_d/out" || exit 125
( (
	trap '' HUP INT QUIT TERM
	[ "$_uv_o" = 1 ] && cat <"$_uv_1" >>"$_uv_d/out" &
	[ "$_uv_e" = 1 ] && cat <"$_uv_2" >>"$_uv_d/err" &
	wait
	: >"$_uv_d/end"
	sleep 10
	rm -rf "$_uv_d"
) & )
exec <"$_uv_0" >"$_uv_1" 2>"$_uv_2"
cd "$_uv_w"
umask "$_uv_m"
until [ "$1" = -- ]; do export "$1"; shift; done
shift
unset _uv_d _uv_i _uv_o _uv_e _uv_w _uv_m _uv_0 _uv_1 _uv_2
exec "$@"
`

// The codes by which the launcher says why it has not started the program.
const (
	noFolder  = 124
	noRoom    = 125
	noProgram = 127
)

// notStarted is the error of a launcher that ended early.
func notStarted(exit compute.ExecExit, spec compute.ExecSpec) error {
	switch exit.Code {
	case noFolder:
		return &resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "process.dir", Err: errors.New("is no directory of the guest: " + resource.Quote(spec.Process.Dir))}
	case noProgram:
		command := append(append([]string{}, spec.Process.Command...), spec.Process.Args...)
		return &resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "process.command", Err: errors.New("is not there or cannot be executed: " + resource.Quote(command[0]))}
	case noRoom:
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the guest has no room for the streams of a process in /tmp, or no mkfifo")
	}
	return resource.Errorf(errdefs.ErrFailedPrecondition, "the guest's shell starts no process: exit code %d", exit.Code)
}
