//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/watching"
	"github.com/univirt/univirt/resource"
)

// Wait implements compute.Instance.
func (i *instance) Wait(ctx context.Context, opts compute.WaitOptions) (compute.Exit, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return compute.Exit{}, i.fail("wait", err)
	}
	defer done()
	exit, err := i.wait(ctx, opts.Run)
	if err != nil {
		return compute.Exit{}, i.fail("wait", err)
	}
	return exit, nil
}

func (i *instance) wait(ctx context.Context, run string) (compute.Exit, error) {
	changed, stop := i.p.board.Await(watching.Key{Kind: resource.KindInstance, ID: i.id})
	defer stop()
	for {
		d, err := i.load(ctx)
		if err != nil {
			return compute.Exit{}, err
		}
		last := d.lastRun()
		number, err := strconv.Atoi(run)
		switch {
		case run == "" && last == 0:
			return compute.Exit{}, resource.Errorf(errdefs.ErrFailedPrecondition, "%w", errNoRun)
		case run == "":
			run, number = strconv.Itoa(last), last
		case err != nil || number > last || number < 1:
			return compute.Exit{Run: run}, nil
		}
		switch over := d.state == compute.Stopped || d.state == compute.Failed; {
		case number == d.endedRun():
			return d.facts.exit.exit(), nil
		case number < last:
			return compute.Exit{Run: run}, nil
		case over:
			d = i.p.withExit(ctx, d)
			if number == d.endedRun() {
				return d.facts.exit.exit(), nil
			}
			return d.exitOf(number, time.Time{}).exit(), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return compute.Exit{}, ended(ctx)
		}
	}
}

// withExit returns a domain with the end of its last run, which the events' reader
// writes down: it knows when that was, and is waited for.
func (p *Provider) withExit(ctx context.Context, d *domain) *domain {
	if !d.unnoted() {
		return d
	}
	if err := p.feed.reread(ctx, d.id); err != nil {
		return d
	}
	if now, err := p.read(ctx, d.id); err == nil {
		return now
	}
	return d
}
