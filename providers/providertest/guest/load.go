package guest

import (
	"context"
	"encoding/json"
	"strconv"
	"time"
)

// loadCommands use up what is limited, or say what the limits are.
var loadCommands = map[string]command{
	"alloc": {args: "BYTES", min: 1, max: 1, run: alloc,
		help: `takes memory into use, prints "allocated BYTES", then waits for a signal`},
	"spin": {args: "[DURATION]", max: 1, run: spin,
		help: "uses one processor for that long, or until a signal"},
	"limits": {args: "", max: 0, run: limits,
		help: "prints the limits as JSON, see Limits"},
	"hardening": {args: "", max: 0, run: hardening,
		help: "prints what the program is kept from doing as JSON, see Hardening"},
}

func alloc(ctx context.Context, p *process, args []string) int {
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || n < 0 {
		return p.misused("size", args[0])
	}
	if p.env.Alloc == nil {
		return p.unsupported()
	}
	if err := p.env.Alloc(n); err != nil {
		return p.fail(err)
	}
	if p.printf("allocated %d\n", n) {
		<-ctx.Done()
	}
	return 1
}

func spin(ctx context.Context, p *process, args []string) int {
	d := time.Duration(-1)
	if len(args) == 1 {
		var err error
		if d, err = time.ParseDuration(args[0]); err != nil || d < 0 {
			return p.misused("duration", args[0])
		}
	}
	burn := p.env.Spin
	if burn == nil {
		burn = busy
	}
	if err := burn(ctx, d); err != nil {
		return p.fail(err)
	}
	return 0
}

// busy uses the processor; it looks at the clock rarely, so that the time is
// spent in the program and not in the kernel.
func busy(ctx context.Context, d time.Duration) error {
	for start, x := time.Now(), uint64(1); ctx.Err() == nil; {
		if d >= 0 && time.Since(start) >= d {
			return nil
		}
		for range 1 << 14 {
			x = x*6364136223846793005 + 1
		}
	}
	return nil
}

func limits(_ context.Context, p *process, _ []string) int {
	get := p.env.Limits
	if get == nil {
		if p.env.Files == nil {
			return p.unsupported()
		}
		get = func() (Limits, error) { return readLimits(p.env.Files) }
	}
	return report(p, get)
}

func hardening(_ context.Context, p *process, _ []string) int {
	if p.env.Hardening == nil {
		return p.unsupported()
	}
	return report(p, p.env.Hardening)
}

// report prints what get returns as one line of JSON.
func report[T any](p *process, get func() (T, error)) int {
	value, err := get()
	if err != nil {
		return p.fail(err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return p.fail(err)
	}
	p.printf("%s\n", text)
	return 0
}
