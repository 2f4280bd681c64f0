package providertest

import (
	"context"
	"image"
	"io"
	"iter"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// saboteur is a provider that does something wrong: each function that is set
// replaces a method, and gets what the method would do.
type saboteur struct {
	univirt.Provider
	// namespace is what the value sees.
	namespace string

	describe func(univirt.Description) univirt.Description
	watch    func(ctx context.Context, opts resource.WatchOptions, real iter.Seq2[resource.Event, error]) iter.Seq2[resource.Event, error]
	close    func(p univirt.Provider) error
	sweep    func(ctx context.Context, p univirt.Provider, opts univirt.SweepOptions) (univirt.SweepReport, error)
	adopt    func(ctx context.Context, p univirt.Provider, foreign resource.Ref, opts univirt.AdoptOptions) (resource.Ref, error)
	images   func(compute.Images) compute.Images
	volumes  func(storage.Volumes) storage.Volumes
	networks func(network.Networks) network.Networks

	create func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error)
	get    func(ctx context.Context, real compute.Instances, idOrName string) (compute.Instance, error)
	list   func(ctx context.Context, real compute.Instances, filter compute.Filter) iter.Seq2[compute.Info, error]
	stats  func(ctx context.Context, real compute.Instances, filter compute.Filter) iter.Seq2[compute.Stats, error]
	plan   func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Plan, error)

	info   func(ctx context.Context, real compute.Instance) (compute.Info, error)
	start  func(ctx context.Context, real compute.Instance, opts compute.StartOptions) error
	stop   func(ctx context.Context, real compute.Instance, opts compute.StopOptions) error
	wait   func(ctx context.Context, real compute.Instance, opts compute.WaitOptions) (compute.Exit, error)
	update func(ctx context.Context, real compute.Instance, change compute.Change) error
	delete func(ctx context.Context, real compute.Instance, opts compute.DeleteOptions) error
	pause  func(ctx context.Context, real compute.Instance) error
	exec   func(ctx context.Context, real compute.Instance, spec compute.ExecSpec) (compute.Execution, error)
	logs   func(ctx context.Context, real compute.Instance, opts compute.LogOptions) iter.Seq2[compute.LogLine, error]
	attach func(ctx context.Context, real compute.Instance, opts compute.AttachOptions) (compute.Attachment, error)

	console    func(ctx context.Context, real compute.Instance, opts compute.ConsoleOptions) (io.ReadWriteCloser, error)
	guest      func(ctx context.Context, real compute.Instance) (compute.GuestInfo, error)
	screenshot func(ctx context.Context, real compute.Instance, opts compute.ScreenshotOptions) (image.Image, error)

	// within replaces the instance in which all other extensions are looked for.
	within func(compute.Instance) compute.Instance
}

func (s *saboteur) Unwrap() univirt.Provider { return s.Provider }

func (s *saboteur) Instances() compute.Instances {
	return sabotagedInstances{s.Provider.Instances(), s}
}

func (s *saboteur) Images() compute.Images {
	if s.images != nil {
		return s.images(s.Provider.Images())
	}
	return s.Provider.Images()
}

func (s *saboteur) Volumes() storage.Volumes {
	if s.volumes != nil {
		return s.volumes(s.Provider.Volumes())
	}
	return s.Provider.Volumes()
}

func (s *saboteur) Networks() network.Networks {
	if s.networks != nil {
		return s.networks(s.Provider.Networks())
	}
	return s.Provider.Networks()
}

func (s *saboteur) Describe(ctx context.Context) (univirt.Description, error) {
	desc, err := s.Provider.Describe(ctx)
	if err == nil && s.describe != nil {
		desc = s.describe(desc)
	}
	return desc, err
}

func (s *saboteur) Watch(ctx context.Context, opts resource.WatchOptions) iter.Seq2[resource.Event, error] {
	real := s.Provider.Watch(ctx, opts)
	if s.watch != nil {
		return s.watch(ctx, opts, real)
	}
	return real
}

func (s *saboteur) Sweep(ctx context.Context, opts univirt.SweepOptions) (univirt.SweepReport, error) {
	if s.sweep != nil {
		return s.sweep(ctx, s.Provider, opts)
	}
	return univirt.Sweep(ctx, s.Provider, opts)
}

func (s *saboteur) Adopt(ctx context.Context, foreign resource.Ref, opts univirt.AdoptOptions) (resource.Ref, error) {
	if s.adopt != nil {
		return s.adopt(ctx, s.Provider, foreign, opts)
	}
	return univirt.Adopt(ctx, s.Provider, foreign, opts)
}

func (s *saboteur) Close() error {
	if s.close != nil {
		return s.close(s.Provider)
	}
	return s.Provider.Close()
}

type sabotagedInstances struct {
	compute.Instances
	s *saboteur
}

func (i sabotagedInstances) Unwrap() compute.Instances { return i.Instances }

func (i sabotagedInstances) wrap(inst compute.Instance, err error) (compute.Instance, error) {
	if err != nil || inst == nil {
		return nil, err
	}
	return sabotagedInstance{inst, i.s}, nil
}

func (i sabotagedInstances) Create(ctx context.Context, spec compute.Spec) (compute.Instance, error) {
	if i.s.create != nil {
		return i.wrap(i.s.create(ctx, i.Instances, spec))
	}
	return i.wrap(i.Instances.Create(ctx, spec))
}

func (i sabotagedInstances) Get(ctx context.Context, idOrName string) (compute.Instance, error) {
	if i.s.get != nil {
		return i.wrap(i.s.get(ctx, i.Instances, idOrName))
	}
	return i.wrap(i.Instances.Get(ctx, idOrName))
}

func (i sabotagedInstances) Handle(id string) compute.Instance {
	return sabotagedInstance{i.Instances.Handle(id), i.s}
}

func (i sabotagedInstances) List(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Info, error] {
	if i.s.list != nil {
		return i.s.list(ctx, i.Instances, filter)
	}
	return i.Instances.List(ctx, filter)
}

func (i sabotagedInstances) Stats(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Stats, error] {
	if i.s.stats != nil {
		return i.s.stats(ctx, i.Instances, filter)
	}
	return i.Instances.Stats(ctx, filter)
}

func (i sabotagedInstances) Plan(ctx context.Context, spec compute.Spec) (compute.Plan, error) {
	if i.s.plan != nil {
		return i.s.plan(ctx, i.Instances, spec)
	}
	return compute.PlanOf(ctx, i.Instances, spec)
}

type sabotagedInstance struct {
	compute.Instance
	s *saboteur
}

func (i sabotagedInstance) Unwrap() compute.Instance {
	if i.s.within != nil {
		return i.s.within(i.Instance)
	}
	return i.Instance
}

func (i sabotagedInstance) Info(ctx context.Context) (compute.Info, error) {
	if i.s.info != nil {
		return i.s.info(ctx, i.Instance)
	}
	return i.Instance.Info(ctx)
}

func (i sabotagedInstance) Start(ctx context.Context, opts compute.StartOptions) error {
	if i.s.start != nil {
		return i.s.start(ctx, i.Instance, opts)
	}
	return i.Instance.Start(ctx, opts)
}

func (i sabotagedInstance) Stop(ctx context.Context, opts compute.StopOptions) error {
	if i.s.stop != nil {
		return i.s.stop(ctx, i.Instance, opts)
	}
	return i.Instance.Stop(ctx, opts)
}

func (i sabotagedInstance) Wait(ctx context.Context, opts compute.WaitOptions) (compute.Exit, error) {
	if i.s.wait != nil {
		return i.s.wait(ctx, i.Instance, opts)
	}
	return i.Instance.Wait(ctx, opts)
}

func (i sabotagedInstance) Update(ctx context.Context, change compute.Change) error {
	if i.s.update != nil {
		return i.s.update(ctx, i.Instance, change)
	}
	return i.Instance.Update(ctx, change)
}

func (i sabotagedInstance) Delete(ctx context.Context, opts compute.DeleteOptions) error {
	if i.s.delete != nil {
		return i.s.delete(ctx, i.Instance, opts)
	}
	return i.Instance.Delete(ctx, opts)
}

func (i sabotagedInstance) Pause(ctx context.Context) error {
	if i.s.pause != nil {
		return i.s.pause(ctx, i.Instance)
	}
	return compute.Pause(ctx, i.Instance)
}

func (i sabotagedInstance) Resume(ctx context.Context) error { return compute.Resume(ctx, i.Instance) }

func (i sabotagedInstance) Exec(ctx context.Context, spec compute.ExecSpec) (compute.Execution, error) {
	if i.s.exec != nil {
		return i.s.exec(ctx, i.Instance, spec)
	}
	return compute.Exec(ctx, i.Instance, spec)
}

func (i sabotagedInstance) Logs(ctx context.Context, opts compute.LogOptions) iter.Seq2[compute.LogLine, error] {
	if i.s.logs != nil {
		return i.s.logs(ctx, i.Instance, opts)
	}
	return compute.Logs(ctx, i.Instance, opts)
}

func (i sabotagedInstance) Attach(ctx context.Context, opts compute.AttachOptions) (compute.Attachment, error) {
	if i.s.attach != nil {
		return i.s.attach(ctx, i.Instance, opts)
	}
	return compute.Attach(ctx, i.Instance, opts)
}

func (i sabotagedInstance) Console(ctx context.Context, opts compute.ConsoleOptions) (io.ReadWriteCloser, error) {
	if i.s.console != nil {
		return i.s.console(ctx, i.Instance, opts)
	}
	return compute.Console(ctx, i.Instance, opts)
}

func (i sabotagedInstance) Guest(ctx context.Context) (compute.GuestInfo, error) {
	if i.s.guest != nil {
		return i.s.guest(ctx, i.Instance)
	}
	return compute.Guest(ctx, i.Instance)
}

func (i sabotagedInstance) Screenshot(ctx context.Context, opts compute.ScreenshotOptions) (image.Image, error) {
	if i.s.screenshot != nil {
		return i.s.screenshot(ctx, i.Instance, opts)
	}
	return compute.Screenshot(ctx, i.Instance, opts)
}

var (
	_ univirt.Sweeper       = (*saboteur)(nil)
	_ univirt.Adopter       = (*saboteur)(nil)
	_ compute.Planner       = sabotagedInstances{}
	_ compute.Pauser        = sabotagedInstance{}
	_ compute.Execer        = sabotagedInstance{}
	_ compute.Logger        = sabotagedInstance{}
	_ compute.Attacher      = sabotagedInstance{}
	_ compute.Consoler      = sabotagedInstance{}
	_ compute.Screenshotter = sabotagedInstance{}
	_ compute.GuestReporter = sabotagedInstance{}
)
