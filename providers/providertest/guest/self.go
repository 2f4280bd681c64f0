package guest

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// selfCommands say what the program sees of itself.
var selfCommands = map[string]command{
	"args": {args: "[ARGUMENT...]", max: -1, run: arguments,
		help: "prints its arguments as a JSON array of strings"},
	"env": {args: "[NAME...]", max: -1, run: environ,
		help: "prints the environment, or one value and a newline, or several as a JSON array; 1 if one is not set"},
	"id": {args: "", max: 0, run: id,
		help: `prints "uid=N gid=N groups=N,N"`},
	"pid": {args: "", max: 0, run: pid,
		help: "prints the process number"},
	"pwd": {args: "", max: 0, run: pwd,
		help: "prints the working directory"},
	"hostname": {args: "", max: 0, run: hostname,
		help: "prints the name of the machine"},
	"tty": {args: "[watch]", max: 1, handle: tty,
		help: `prints "stdin=BOOL stdout=BOOL stderr=BOOL" and "size=COLUMNSxROWS"; watch: the size again at each WINCH`},
}

func arguments(_ context.Context, p *process, args []string) int {
	if args == nil {
		args = []string{}
	}
	text, err := json.Marshal(args)
	if err != nil {
		return p.fail(err)
	}
	p.printf("%s\n", text)
	return 0
}

func environ(ctx context.Context, p *process, args []string) int {
	if len(args) == 0 {
		p.printf("%s", strings.Join(append(p.env.Environ[:len(p.env.Environ):len(p.env.Environ)], ""), "\n"))
		return 0
	}
	values := make([]string, len(args))
	for i, wanted := range args {
		at := slices.IndexFunc(p.env.Environ, func(pair string) bool { return strings.HasPrefix(pair, wanted+"=") })
		if at < 0 {
			return 1
		}
		values[i] = p.env.Environ[at][len(wanted)+1:]
	}
	if len(values) > 1 {
		return arguments(ctx, p, values)
	}
	p.printf("%s\n", values[0])
	return 0
}

func id(_ context.Context, p *process, _ []string) int {
	groups := make([]string, len(p.env.User.Groups))
	for i, g := range p.env.User.Groups {
		groups[i] = strconv.Itoa(g)
	}
	p.printf("uid=%d gid=%d groups=%s\n", p.env.User.UID, p.env.User.GID, strings.Join(groups, ","))
	return 0
}

func pid(_ context.Context, p *process, _ []string) int {
	p.printf("%d\n", p.env.PID)
	return 0
}

func pwd(_ context.Context, p *process, _ []string) int {
	p.printf("%s\n", p.env.Dir)
	return 0
}

func hostname(_ context.Context, p *process, _ []string) int {
	if p.env.Hostname == nil {
		return p.unsupported()
	}
	name, err := p.env.Hostname()
	if err != nil {
		return p.fail(err)
	}
	p.printf("%s\n", name)
	return 0
}

func tty(ctx context.Context, p *process, args []string) int {
	if len(args) == 1 && args[0] != "watch" {
		return p.misused("argument", args[0])
	}
	t := p.env.TTY
	if !p.printf("stdin=%t stdout=%t stderr=%t\n", t[0], t[1], t[2]) || !p.size() || len(args) == 0 {
		return 0
	}
	for {
		sig, ok := p.next(ctx)
		switch {
		case !ok, sig == WINCH && !p.size():
			return 1
		case !sig.harmless():
			return sig.ExitCode()
		}
	}
}

func (p *process) size() bool {
	columns, rows := 0, 0
	if p.env.Size != nil {
		columns, rows = p.env.Size()
	}
	return p.printf("size=%dx%d\n", columns, rows)
}
