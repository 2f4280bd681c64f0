package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/providers/fake"
)

// open opens the provider of a URL. The fake has no shell, so it is given Go
// functions for the two programs that the quickstart runs: that is all a test
// does, too.
func open(ctx context.Context, text string) (univirt.Provider, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != fake.Scheme {
		return univirt.Open(ctx, text)
	}
	opts, err := fake.ParseURL(u)
	if err != nil {
		return nil, err
	}
	opts.Programs = map[string]fake.Program{
		"/bin/sh":       greet,
		"/bin/hostname": hostname,
	}
	return fake.New(opts), nil
}

// greet does what the script does.
func greet(ctx context.Context, p *fake.Process) int {
	signals := p.Signals()
	for n := 1; ; n++ {
		fmt.Fprintf(p.Stdout, "hello from %s, line %d\n", p.Hostname(), n)
		select {
		case <-ctx.Done():
			return 1
		case <-signals:
			fmt.Fprintln(p.Stdout, "goodbye")
			return 0
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func hostname(_ context.Context, p *fake.Process) int {
	fmt.Fprintln(p.Stdout, p.Hostname())
	return 0
}
