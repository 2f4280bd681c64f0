package providertest

import (
	"context"
	"time"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
)

// wrongSupervision is wrong about what happens without a call.
func wrongSupervision() []sabotage {
	const group = "supervision"
	return []sabotage{
		{"a supervisor that nobody knows of", group, "Info says that an instance is supervised", withInfo(func(i *compute.Info) { i.Supervised = false }), ""},
		{"a policy that is kept and not acted on", group, "A run that fails is followed by another", withInstanceSpec(func(s *compute.Spec) {
			s.Restart = compute.RestartPolicy{}
		}), "waited for long"},
		{"a policy of failures that means every end", group, "A run that fails is followed by another", withInstanceSpec(func(s *compute.Spec) {
			s.Restart.Mode = compute.RestartAlways
		}), ""},
		{"a policy of every end that means failures", group, "Every run is followed by another", withInstanceSpec(func(s *compute.Spec) {
			s.Restart.Mode = compute.RestartOnFailure
		}), "waited for long"},
		{"restarts unasked", group, "No run is followed by another", withInstanceSpec(func(s *compute.Spec) {
			s.Restart.Mode = compute.RestartAlways
		}), ""},
		{"restarts without end", group, "Restarts in a row are bounded", withInstanceSpec(func(s *compute.Spec) { s.Restart.MaxRetries = 0 }), ""},
		{"one restart too few", group, "Restarts in a row are bounded", withInstanceSpec(func(s *compute.Spec) {
			s.Restart.MaxRetries = max(s.Restart.MaxRetries-1, 0)
		}), "waited for long"},
		{"restarts at once", group, "The wait before a restart doubles", withInstanceSpec(func(s *compute.Spec) { s.Restart.Backoff = time.Millisecond }), ""},
		{"a Stop that ends one run", group, "A Stop is not followed by a restart", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.stop = func(ctx context.Context, real compute.Instance, opts compute.StopOptions) error {
				if err := real.Stop(ctx, opts); err != nil {
					return err
				}
				return real.Start(ctx, compute.StartOptions{})
			}
		}, ""},
		{"a Stop that leaves what waits to begin", group, "A Stop is not followed by a restart", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.stop = func(ctx context.Context, real compute.Instance, opts compute.StopOptions) error {
				if info, err := real.Info(ctx); err == nil && info.State == compute.Stopped {
					return nil
				}
				return real.Stop(ctx, opts)
			}
		}, "another run has begun"},
		{"a Start that leaves it to the supervisor", group, "A Start does not wait for the restart", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.start = func(ctx context.Context, real compute.Instance, opts compute.StartOptions) error {
				if info, err := real.Info(ctx); err == nil && info.Run != "" {
					return nil
				}
				return real.Start(ctx, opts)
			}
		}, ""},
		{"a policy that cannot be taken back", group, "A policy that is changed", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.update = func(ctx context.Context, real compute.Instance, c compute.Change) error {
				if c.Restart != nil && c.Restart.Mode == compute.RestartNever {
					return nil
				}
				return real.Update(ctx, c)
			}
		}, ""},
		{"a maker who takes the policies along", group, "Restarts go on when the value", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			var made []compute.Instance
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				inst, err := real.Create(ctx, spec)
				made = append(made, inst)
				return inst, err
			}
			s.close = func(p univirt.Provider) error {
				for _, inst := range made {
					_ = inst.Stop(context.Background(), compute.StopOptions{Force: true})
				}
				return p.Close()
			}
		}, "waited for long"},
		{"health that is always well", group, "Health is starting, then unhealthy", withInfo(func(i *compute.Info) {
			if i.Health != "" {
				i.Health = compute.HealthHealthy
			}
		}), ""},
		{"health that outlives the run", group, "Health is starting, then unhealthy", withInfo(func(i *compute.Info) {
			if i.State == compute.Stopped {
				i.Health = compute.HealthHealthy
			}
		}), ""},
		{"health without a check", group, "An instance without a health check", withInfo(func(i *compute.Info) {
			if i.Health == "" {
				i.Health = compute.HealthHealthy
			}
		}), ""},
		{"one failure that suffices", group, "As many checks in a row must fail", withProbe(func(p *compute.Probe) {
			if p.Failures > 10 {
				p.Failures = 1
			}
		}), ""},
		{"a start period that counts", group, "Checks that fail in the start period", withProbe(func(p *compute.Probe) { p.StartPeriod = 0 }), ""},
		{"a check that may take for ever", group, "A check that takes too long", withProbe(func(p *compute.Probe) { p.Timeout = time.Hour }), "waited for long"},
		{"a port that is not asked", group, "A port is checked", withProbe(func(p *compute.Probe) {
			if p.TCP != "" {
				p.TCP, p.Exec = "", []string{GuestPath, "exit", "0"}
			}
		}), "nothing listens"},
		{"readiness by the health check", group, "Info tells the level healthy when the readiness", withInfo(func(i *compute.Info) {
			if i.Health == compute.HealthHealthy {
				i.Level = compute.LevelHealthy
			}
		}), ""},
		{"a level that does not know of health", group, "Info tells the level healthy by the health check", withInfo(func(i *compute.Info) {
			i.Level = min(i.Level, compute.LevelAgent)
		}), ""},
	}
}

// withInfo changes what is told of an instance.
func withInfo(change func(*compute.Info)) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
		s.info = func(ctx context.Context, real compute.Instance) (compute.Info, error) {
			info, err := real.Info(ctx)
			change(&info)
			return info, err
		}
	}
}

// withInstanceSpec changes what is asked of an instance.
func withInstanceSpec(change func(*compute.Spec)) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
		s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
			spec = spec.Clone()
			change(&spec)
			return real.Create(ctx, spec)
		}
	}
}

// withProbe changes what is asked of a health check.
func withProbe(change func(*compute.Probe)) func(*saboteur, *leftThings, <-chan struct{}) {
	return withInstanceSpec(func(s *compute.Spec) {
		if s.Health != nil {
			change(s.Health)
		}
	})
}
