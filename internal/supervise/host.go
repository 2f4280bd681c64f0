package supervise

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
)

// Begin supervises until the context ends, at once or when whoever on this host holds
// the lock of that path is gone. What it starts belongs to the group.
func Begin(ctx context.Context, path string, target Target, logger *slog.Logger, group *sync.WaitGroup) error {
	once, cancel := context.WithCancel(context.Background())
	cancel() // so that it does not wait
	lock, err := filelock.Acquire(once, path, filelock.Exclusive)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	waits := errors.Is(err, context.Canceled)
	group.Go(func() {
		if waits {
			if lock, err = filelock.Await(ctx, path); err != nil {
				if ctx.Err() == nil {
					logger.Error("this value will not supervise", "error", err)
				}
				return
			}
		}
		defer lock.Remove()
		Run(ctx, target, logger)
	})
	return nil
}

// Runs reports whether somebody on this host supervises by the lock of that path.
func Runs(path string) bool {
	held, err := filelock.Held(path)
	return err == nil && held
}

// Judge completes what is told of a supervised instance by what probes have found out.
func (s Status) Judge(info *compute.Info) {
	if s.Run == "" || s.Exit != nil || !s.goesOn() {
		return
	}
	if s.Health != nil {
		info.Health = compute.HealthStarting
		if s.Found.Health != "" {
			info.Health = s.Found.Health
		}
	}
	well := s.Found.Health == compute.HealthHealthy
	if s.Readiness != nil {
		well = s.Found.Ready
	}
	if well && s.State == compute.Running {
		info.Level = max(info.Level, compute.LevelHealthy)
	}
}
