package guest

import (
	"context"
	"strconv"
	"time"
)

// lifeCommands begin and end in known ways.
var lifeCommands = map[string]command{
	"exit": {args: "CODE", min: 1, max: 1, run: exit,
		help: "ends with CODE"},
	"sleep": {args: "DURATION", min: 1, max: 1, run: sleep,
		help: "waits, prints nothing, ends with 0"},
	"ready": {args: "AFTER", min: 1, max: 1, run: ready,
		help: `prints "ready" after a while, then waits for a signal`},
	"late": {args: "AFTER TEXT", min: 2, max: 2, run: late,
		help: "prints a line after a while and ends with 0"},
	"trap": {args: "[CODE]", max: 1, handle: trap,
		help: `prints "ready", and at a signal that would end it "trapped NAME", and ends with CODE or 0`},
	"ignore": {args: "", max: 0, handle: ignore,
		help: `prints "ready" and ignores every signal: only KILL ends it`},
	"signals": {args: "", max: 0, handle: signals,
		help: `prints "ready", then each signal on a line; TERM ends it with 0`},
	"die": {args: "SIGNAL", min: 1, max: 1, run: die,
		help: "ends itself by SIGNAL"},
	"background": {args: "DURATION", min: 1, max: 1, run: background,
		help: `ends at once; a child keeps the output open and at last prints "background done"`},
	"orphan": {args: "DURATION", min: 1, max: 1, run: orphan,
		help: "like background, but the child of a child"},
}

func exit(_ context.Context, p *process, args []string) int {
	code, err := strconv.ParseUint(args[0], 10, 8)
	if err != nil {
		return p.misused("exit code", args[0])
	}
	return int(code)
}

func sleep(ctx context.Context, p *process, args []string) int {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return p.misused("duration", args[0])
	}
	pause(ctx, d)
	return 0
}

func ready(ctx context.Context, p *process, args []string) int {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return p.misused("duration", args[0])
	}
	if pause(ctx, d) && p.printf("ready\n") {
		<-ctx.Done()
	}
	return 0
}

func late(ctx context.Context, p *process, args []string) int {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return p.misused("duration", args[0])
	}
	if pause(ctx, d) {
		p.printf("%s\n", args[1])
	}
	return 0
}

func trap(ctx context.Context, p *process, args []string) int {
	code := 0
	if len(args) == 1 {
		n, err := strconv.ParseUint(args[0], 10, 8)
		if err != nil {
			return p.misused("exit code", args[0])
		}
		code = int(n)
	}
	if !p.printf("ready\n") {
		return 1
	}
	for {
		sig, ok := p.next(ctx)
		if !ok {
			return 1
		}
		if !sig.harmless() {
			p.printf("trapped %s\n", sig)
			return code
		}
	}
}

func ignore(ctx context.Context, p *process, _ []string) int {
	if p.printf("ready\n") {
		<-ctx.Done()
	}
	return 1
}

func signals(ctx context.Context, p *process, _ []string) int {
	if !p.printf("ready\n") {
		return 1
	}
	for {
		sig, ok := p.next(ctx)
		if !ok || !p.printf("%s\n", sig) {
			return 1
		}
		if sig == TERM {
			return 0
		}
	}
}

func die(_ context.Context, p *process, args []string) int {
	sig, ok := ParseSignal(args[0])
	if !ok {
		return p.misused("signal", args[0])
	}
	if p.env.Raise != nil {
		if err := p.env.Raise(sig); err != nil {
			return p.fail(err)
		}
	}
	return sig.ExitCode()
}

func background(_ context.Context, p *process, args []string) int {
	return p.spawn("late", args[0], "background done")
}

func orphan(_ context.Context, p *process, args []string) int {
	return p.spawn("background", args[0])
}

// spawn checks the duration that the child will parse, as nobody would see the
// child's complaint.
func (p *process) spawn(args ...string) int {
	if _, err := time.ParseDuration(args[1]); err != nil {
		return p.misused("duration", args[1])
	}
	if p.env.Spawn == nil {
		return p.unsupported()
	}
	if err := p.env.Spawn(args...); err != nil {
		return p.fail(err)
	}
	return 0
}

// pause waits that long and reports whether the program still runs then.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
