package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func sabotages() []sabotage {
	all := slices.Concat(wrongLives(), wrongRest(), wrongResources(), wrongSupervision())
	for _, l := range leaks() {
		all = append(all, l.sabotage)
	}
	return all
}

// wrongLives are wrong about what instances go through.
func wrongLives() []sabotage {
	return []sabotage{
		{"a Create of nothing without an error", "lifecycle", "Start of a running instance is nil and begins no other run", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.create = func(context.Context, compute.Instances, compute.Spec) (compute.Instance, error) { return nil, nil }
		}, "Instances.Create returned nil, and no error"},
		{"an Exec of nothing without an error", "exec", "Exec returns when the process runs, and Wait its exit code", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.exec = func(context.Context, compute.Instance, compute.ExecSpec) (compute.Execution, error) { return nil, nil }
		}, "returns nil without an error"},
		{"another run at the second Start", "lifecycle", "Start of a running instance is nil and begins no other run", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.start = func(ctx context.Context, real compute.Instance, opts compute.StartOptions) error {
				_ = real.Stop(ctx, compute.StopOptions{Force: true})
				return real.Start(ctx, opts)
			}
		}, ""},
		{"Stop that does not ask", "stop", "Stop asks with SIGTERM", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.stop = func(ctx context.Context, real compute.Instance, _ compute.StopOptions) error {
				return real.Stop(ctx, compute.StopOptions{Force: true})
			}
		}, ""},
		{"Stop that hangs", "stop", "Stop ends a paused instance", func(s *saboteur, _ *leftThings, over <-chan struct{}) {
			s.stop = func(context.Context, compute.Instance, compute.StopOptions) error { <-over; return nil }
		}, "does not return"},
		{"Update of a paused instance that resumes it", "transitions", "update in the state paused leads to paused", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.update = func(ctx context.Context, real compute.Instance, c compute.Change) error {
				_ = compute.Resume(ctx, real)
				return real.Update(ctx, c)
			}
		}, ""},
		{"Delete of a running instance that obeys", "transitions", "delete in the state running is FailedPrecondition", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.delete = func(ctx context.Context, real compute.Instance, opts compute.DeleteOptions) error {
				opts.Force = true
				return real.Delete(ctx, opts)
			}
		}, ""},
		{"Pause that does nothing", "lifecycle", "A paused instance makes no progress", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			paused := map[string]bool{}
			s.pause = func(_ context.Context, real compute.Instance) error { paused[real.ID()] = true; return nil }
			s.info = func(ctx context.Context, real compute.Instance) (compute.Info, error) {
				info, err := real.Info(ctx)
				if paused[real.ID()] {
					info.State = compute.Paused
				}
				return info, err
			}
		}, "comes to rest"},
		{"handles that are bound to the name", "identity", "A handle is bound to its ID", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.info = func(ctx context.Context, real compute.Instance) (compute.Info, error) {
				info, err := real.Info(ctx)
				if errdefs.IsNotFound(err) {
					if inst, getErr := s.Provider.Instances().Get(ctx, "web"); getErr == nil {
						return inst.Info(ctx)
					}
				}
				return info, err
			}
		}, ""},
		{"uniqueness by looking first", "concurrency", "Of many Creates of one name one succeeds", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				inst, err := real.Create(ctx, spec)
				if errdefs.IsAlreadyExists(err) {
					return real.Get(ctx, spec.Name)
				}
				return inst, err
			}
		}, ""},
		{"a Wait that makes others queue", "concurrency", "Reading never queues", func(s *saboteur, _ *leftThings, over <-chan struct{}) {
			s.wait = func(ctx context.Context, real compute.Instance, opts compute.WaitOptions) (compute.Exit, error) {
				<-over
				return real.Wait(ctx, opts)
			}
		}, "does not return"},
		{"a cancelled context that is not looked at", "cancel", "A context that is done before start", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.start = func(ctx context.Context, real compute.Instance, opts compute.StartOptions) error {
				return real.Start(context.WithoutCancel(ctx), opts)
			}
		}, ""},
		{"a lost backend that is a fault of the library", "outages", "A backend that dies in the middle of pause", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.pause = func(ctx context.Context, real compute.Instance) error {
				err := compute.Pause(ctx, real)
				if errdefs.IsUnavailable(err) {
					return resource.Fail("pause", resource.Ref{ID: real.ID()}, resource.Errorf(errdefs.ErrInternal, "lost"))
				}
				return err
			}
		}, ""},
		{"a Delete that was done and says that it was not", "outages", "A backend that dies in the middle of delete by force", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.delete = func(ctx context.Context, real compute.Instance, opts compute.DeleteOptions) error {
				err := real.Delete(ctx, opts)
				if re, ok := err.(*resource.Error); ok {
					re.Outcome = resource.NotDone
				}
				return err
			}
		}, "the error says that nothing was done"},
		{"a Create that leaves something where the backend is lost", "outages", "A backend that dies in the middle of the call to create", func(s *saboteur, left *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				inst, err := real.Create(ctx, spec)
				if errdefs.IsUnavailable(err) {
					left.add(s.namespace, "snapshot")
				}
				return inst, err
			}
		}, "though the error does not say so"},
		{"a Start that waits for a backend that hangs", "hangs", "A backend that hangs in the middle of start", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.start = func(ctx context.Context, real compute.Instance, opts compute.StartOptions) error {
				return real.Start(context.WithoutCancel(ctx), opts)
			}
		}, "does not return"},
		{"a Create that leaves something where the backend hangs", "hangs", "A backend that hangs in the middle of the call to create", func(s *saboteur, left *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				inst, err := real.Create(ctx, spec)
				if contextError(err) {
					left.add(s.namespace, "snapshot")
				}
				return inst, err
			}
		}, "though the error does not say so"},
		{"an error of another type", "errors", "An error survives wrapping", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.delete = func(ctx context.Context, real compute.Instance, opts compute.DeleteOptions) error {
				if err := real.Delete(ctx, opts); err != nil {
					return fmt.Errorf("delete: %w", err)
				}
				return nil
			}
		}, "neither a *resource.Error"},
		{"a NotFound that does not say where", "errors", "A NotFound tells the namespace", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.get = func(ctx context.Context, real compute.Instances, idOrName string) (compute.Instance, error) {
				inst, err := real.Get(ctx, idOrName)
				if re, ok := err.(*resource.Error); ok {
					re.Ref.Namespace = ""
				}
				return inst, err
			}
		}, "the namespace of"},
		{"an error without a field", "bad input", "Create with a relative working directory", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				inst, err := real.Create(ctx, spec)
				if errdefs.IsInvalidArgument(err) {
					return nil, resource.Fail("create", resource.Ref{Name: spec.Name}, resource.Errorf(errdefs.ErrInvalidArgument, "something is wrong"))
				}
				return inst, err
			}
		}, "the field at fault"},
		{"a Sweep whose options are not looked at", "bad input", "Sweep reports all faults of its options", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.sweep = func(ctx context.Context, p univirt.Provider, opts univirt.SweepOptions) (univirt.SweepReport, error) {
				if opts.Validate() != nil {
					return univirt.SweepReport{}, nil
				}
				return univirt.Sweep(ctx, p, opts)
			}
		}, "An error is expected"},
		{"a Wait that tells the last run's exit for any", "wait", "Wait for an unknown run", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.wait = func(ctx context.Context, real compute.Instance, _ compute.WaitOptions) (compute.Exit, error) {
				return real.Wait(ctx, compute.WaitOptions{})
			}
		}, ""},
		{"last lines that are lost", "wait for", "WaitFor ends when the run does", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.logs = func(ctx context.Context, real compute.Instance, opts compute.LogOptions) iter.Seq2[compute.LogLine, error] {
				if opts.Tail > 0 {
					return func(func(compute.LogLine, error) bool) {}
				}
				return compute.Logs(ctx, real, opts)
			}
		}, ""},
		{"an Update that replaces the labels", "update", "Update patches labels", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.update = func(ctx context.Context, real compute.Instance, c compute.Change) error {
				info, err := real.Info(ctx)
				if err != nil {
					return err
				}
				for key := range info.Labels {
					if _, set := c.Labels[key]; !set && c.Labels != nil {
						c.Labels[key] = nil
					}
				}
				return real.Update(ctx, c)
			}
		}, ""},
		{"a quota that waits for the next start", "update", "Update of a running container's processors takes effect", later, ""},
		{"processors that wait for the next start", "update", "Update of a running machine's processors is what", later, ""},
		{"memory that waits for the next start", "update", "Update of a running instance's resources takes effect", later, ""},
		{"an Update that changes nothing", "ensure", "Ensure changes what Update can change", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.update = func(context.Context, compute.Instance, compute.Change) error { return nil }
		}, ""},
		{"a Delete that does not", "run", "Run returns the exit and the whole output", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.delete = func(context.Context, compute.Instance, compute.DeleteOptions) error { return nil }
		}, ""},
		{"a Sweep of what is alive", "lifetime", "Sweep of nothing removes nothing", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.sweep = func(ctx context.Context, p univirt.Provider, opts univirt.SweepOptions) (univirt.SweepReport, error) {
				opts.All = true
				return univirt.Sweep(ctx, p, opts)
			}
		}, ""},
	}
}

// later has all changes wait for the next start, and says of none that it waits.
func later(s *saboteur, _ *leftThings, _ <-chan struct{}) {
	s.update = func(ctx context.Context, real compute.Instance, c compute.Change) error {
		c.Apply = compute.ApplyNextStart
		return real.Update(ctx, c)
	}
	s.info = func(ctx context.Context, real compute.Instance) (compute.Info, error) {
		info, err := real.Info(ctx)
		info.Pending = nil
		return info, err
	}
}

// wrongRest are wrong about what surrounds the lives of instances.
func wrongRest() []sabotage {
	return []sabotage{
		{"a list that is nil", "lists", "A filter by state follows the state", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.list = func(context.Context, compute.Instances, compute.Filter) iter.Seq2[compute.Info, error] { return nil }
		}, "Instances.List returned nil"},
		{"a filter by state that is not looked at", "lists", "A filter by state follows the state", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.list = func(ctx context.Context, real compute.Instances, filter compute.Filter) iter.Seq2[compute.Info, error] {
				filter.States = nil
				return real.List(ctx, filter)
			}
		}, ""},
		{"events that come twice", "watch", "A watch yields the changes of a life in their order", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.watch = func(_ context.Context, _ resource.WatchOptions, real iter.Seq2[resource.Event, error]) iter.Seq2[resource.Event, error] {
				return func(yield func(resource.Event, error) bool) {
					for event, err := range real {
						if !yield(event, err) || event.Reason == resource.ReasonStart && !yield(event, err) {
							return
						}
					}
				}
			}
		}, "out of order"},
		{"events that are lost without a Gap", "watch", "A slow reader gets a Gap", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.watch = func(_ context.Context, _ resource.WatchOptions, real iter.Seq2[resource.Event, error]) iter.Seq2[resource.Event, error] {
				return func(yield func(resource.Event, error) bool) {
					for event, err := range real {
						if event.Type != resource.EventGap && !yield(event, err) {
							return
						}
					}
				}
			}
		}, ""},
		{"a feature that nobody knows", "describe", "Describe declares nothing that no package defines", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.describe = withFeatures(func(f resource.Features) { f["teleport"] = resource.Support{Supported: true} })
		}, "teleport"},
		{"a feature that is declared and not there", "capabilities", "What is declared of migrate is what there is", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.describe = withFeatures(func(f resource.Features) { f[compute.FeatureMigrate] = resource.Support{Supported: true} })
		}, "it is declared"},
		{"a feature that is there and not declared", "capabilities", "What is declared of attach is what there is", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.describe = withFeatures(func(f resource.Features) { delete(f, compute.FeatureAttach) })
		}, ""},
		{"a part that is there and not declared", "capabilities", "What is declared of volumes: volumes.resize", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.describe = func(desc univirt.Description) univirt.Description {
				desc.Volumes.Features = resource.Clone(desc.Volumes.Features)
				delete(desc.Volumes.Features, storage.FeatureResize)
				return desc
			}
		}, ""},
		{"a field that is ignored", "fields", "The field init is", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				spec.Init = false
				return real.Create(ctx, spec)
			}
		}, ""},
		{"a user that is ignored", "effects", "The user is the one that was asked for", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				spec.Process.User = ""
				return real.Create(ctx, spec)
			}
		}, ""},
		{"a Close that closes nothing", "close", "After Close, info of a handle is ErrClosed", func(s *saboteur, _ *leftThings, over <-chan struct{}) {
			s.close = func(univirt.Provider) error { return nil }
		}, ""},
		{"a Close that waits for the end of a loop", "loops", "Close within a loop over instances", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			var loops sync.WaitGroup
			s.list = func(ctx context.Context, real compute.Instances, filter compute.Filter) iter.Seq2[compute.Info, error] {
				return func(yield func(compute.Info, error) bool) {
					loops.Add(1)
					defer loops.Done()
					real.List(ctx, filter)(yield)
				}
			}
			s.close = func(p univirt.Provider) error { loops.Wait(); return p.Close() }
		}, "Close does not return"},
		{"a watch that keeps a lock while it yields", "loops", "Within a loop over events", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			var lock sync.Mutex
			s.watch = func(_ context.Context, _ resource.WatchOptions, real iter.Seq2[resource.Event, error]) iter.Seq2[resource.Event, error] {
				return func(yield func(resource.Event, error) bool) {
					lock.Lock()
					defer lock.Unlock()
					real(yield)
				}
			}
			s.stop = func(ctx context.Context, real compute.Instance, opts compute.StopOptions) error {
				lock.Lock()
				defer lock.Unlock()
				return real.Stop(ctx, opts)
			}
		}, "Stop does not return"},
		{"a Close that waits for a writer", "loops", "Close does not wait for the writer of an execution", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			var writes sync.WaitGroup
			s.exec = func(ctx context.Context, real compute.Instance, spec compute.ExecSpec) (compute.Execution, error) {
				to := spec.Stdout
				spec.Stdout = writer(func(b []byte) (int, error) {
					writes.Add(1)
					defer writes.Done()
					return to.Write(b)
				})
				return compute.Exec(ctx, real, spec)
			}
			s.close = func(p univirt.Provider) error { writes.Wait(); return p.Close() }
		}, "Close does not return"},
		{"an exit code that is always 0", "exec", "Exec returns when the process runs, and Wait its exit code", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.exec = withExecution(func(x *wrongExecution) { x.exit = func(e compute.ExecExit) compute.ExecExit { e.Code = 0; return e } })
		}, ""},
		{"streams that are joined", "exec output", "The two streams are told apart", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.exec = func(ctx context.Context, real compute.Instance, spec compute.ExecSpec) (compute.Execution, error) {
				spec.Stderr = spec.Stdout
				return compute.Exec(ctx, real, spec)
			}
		}, ""},
		{"a last line that is lost", "logs", "A last line without a newline is kept", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.logs = func(ctx context.Context, real compute.Instance, opts compute.LogOptions) iter.Seq2[compute.LogLine, error] {
				return func(yield func(compute.LogLine, error) bool) {
					for line, err := range compute.Logs(ctx, real, opts) {
						if !line.Partial && !yield(line, err) {
							return
						}
					}
				}
			}
		}, ""},
		{"counters of all instances whatever the filter", "stats", "Stats yields the running instances that match", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.stats = func(ctx context.Context, real compute.Instances, _ compute.Filter) iter.Seq2[compute.Stats, error] {
				return real.Stats(ctx, compute.Filter{})
			}
		}, ""},
		{"an Adopt that leaves the owner as it was", "adopt", "Adopt of what is managed makes this value the owner", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.adopt = func(_ context.Context, _ univirt.Provider, foreign resource.Ref, _ univirt.AdoptOptions) (resource.Ref, error) {
				return foreign, nil
			}
		}, ""},
		{"an Adopt that overwrites a name", "adopt", "Adopt to a name that is taken", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.adopt = func(ctx context.Context, p univirt.Provider, foreign resource.Ref, opts univirt.AdoptOptions) (resource.Ref, error) {
				if inst, err := p.Instances().Get(ctx, opts.Name); err == nil {
					_ = inst.Delete(ctx, compute.DeleteOptions{Force: true})
				}
				return univirt.Adopt(ctx, p, foreign, opts)
			}
		}, ""},
		{"a placement that is never required", "placement", "A placement that is required and cannot be met", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				spec.Placement.Required = false
				return real.Create(ctx, spec)
			}
		}, ""},
		{"consoles that take over unasked", "console", "A second console is FailedPrecondition", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.console = func(ctx context.Context, real compute.Instance, opts compute.ConsoleOptions) (io.ReadWriteCloser, error) {
				opts.TakeOver = true
				return compute.Console(ctx, real, opts)
			}
		}, ""},
		{"a console that ends the run when it is closed", "console", "Closing a console leaves the run alone", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.console = func(ctx context.Context, real compute.Instance, opts compute.ConsoleOptions) (io.ReadWriteCloser, error) {
				c, err := compute.Console(ctx, real, opts)
				return wrongConsole{c, real}, err
			}
		}, ""},
		{"a guest that says nothing", "guest", "A guest tells of its system", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.guest = func(context.Context, compute.Instance) (compute.GuestInfo, error) { return compute.GuestInfo{}, nil }
		}, ""},
		{"a guest of what does not run", "guest", "A guest that does not run", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.guest = func(context.Context, compute.Instance) (compute.GuestInfo, error) {
				return compute.GuestInfo{Hostname: "web"}, nil
			}
		}, ""},
		{"a screenshot of nothing", "screenshot", "A screenshot has a size", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.screenshot = func(context.Context, compute.Instance, compute.ScreenshotOptions) (image.Image, error) {
				return image.NewGray(image.Rectangle{}), nil
			}
		}, ""},
		{"screens that are all the first", "screenshot", "A screenshot of a screen that is not there", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.screenshot = func(ctx context.Context, real compute.Instance, _ compute.ScreenshotOptions) (image.Image, error) {
				return compute.Screenshot(ctx, real, compute.ScreenshotOptions{})
			}
		}, ""},
		{"files that are declared and not there", "files", "Files reads what is there", within(func(real compute.Instance) compute.Instance {
			return opaque{real}
		}), ""},
		{"an archive without anything of what is not there", "files", "CopyOut of what is not there is NotFound", within(func(real compute.Instance) compute.Instance {
			return wrongFiles{real}
		}), ""},
		{"a port where nothing listens that is NotFound", "dial", "Dial to a port where nothing listens is Unavailable", within(func(real compute.Instance) compute.Instance {
			return wrongDialer{real}
		}), ""},
		{"a clone that has its original's labels", "copies", "A clone has the content under another identity", within(func(real compute.Instance) compute.Instance {
			return wrongCloner{real}
		}), ""},
		{"a deleted snapshot that takes along what was written since", "copies", "Deleting a snapshot never deletes the content", within(func(real compute.Instance) compute.Instance {
			s, err := compute.Snapshots(real)
			if err != nil {
				return real
			}
			return wrongSnapshotter{s}
		}), ""},
		{"an attachment that ends the run when it is closed", "attach", "Closing an attachment leaves the run alone", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.attach = func(ctx context.Context, real compute.Instance, opts compute.AttachOptions) (compute.Attachment, error) {
				a, err := compute.Attach(ctx, real, opts)
				return wrongAttachment{a, real}, err
			}
		}, ""},
		{"annotations that are trimmed", "hostile", "Annotations with any text are kept", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				spec = spec.Clone()
				for key, value := range spec.Annotations {
					spec.Annotations[key] = strings.TrimSpace(value)
				}
				return real.Create(ctx, spec)
			}
		}, ""},
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// within replaces what an instance's extensions are.
func within(wrong func(compute.Instance) compute.Instance) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, _ *leftThings, _ <-chan struct{}) { s.within = wrong }
}

// opaque hides the extensions of an instance.
type opaque struct{ compute.Instance }

type wrongFiles struct{ compute.Instance }

func (f wrongFiles) Unwrap() compute.Instance { return f.Instance }

func (f wrongFiles) CopyIn(ctx context.Context, dir string, archive io.Reader, opts compute.CopyOptions) error {
	return compute.CopyIn(ctx, f.Instance, dir, archive, opts)
}

func (f wrongFiles) CopyOut(ctx context.Context, path string, opts compute.CopyOptions) (io.ReadCloser, error) {
	r, err := compute.CopyOut(ctx, f.Instance, path, opts)
	if errdefs.IsNotFound(err) {
		return io.NopCloser(bytes.NewReader(emptyTar())), nil
	}
	return r, err
}

func (f wrongFiles) Files(ctx context.Context) (fs.FS, error) { return compute.Files(ctx, f.Instance) }

type wrongDialer struct{ compute.Instance }

func (d wrongDialer) Unwrap() compute.Instance { return d.Instance }

func (d wrongDialer) Dial(ctx context.Context, _ network.Protocol, port uint16) (net.Conn, error) {
	conn, err := compute.Dial(ctx, d.Instance, fmt.Sprint(port))
	if errdefs.IsUnavailable(err) {
		err = resource.Fail("dial", resource.Ref{ID: d.ID()}, resource.Errorf(errdefs.ErrNotFound, "nothing listens"))
	}
	return conn, err
}

type wrongCloner struct{ compute.Instance }

func (c wrongCloner) Unwrap() compute.Instance { return c.Instance }

func (c wrongCloner) Clone(ctx context.Context, opts compute.CloneOptions) (compute.Instance, error) {
	opts.Labels = nil
	return compute.Clone(ctx, c.Instance, opts)
}

type wrongSnapshotter struct{ compute.Snapshotter }

func (s wrongSnapshotter) Unwrap() compute.Instance { return s.Snapshotter }

func (s wrongSnapshotter) DeleteSnapshot(ctx context.Context, name string) error {
	_ = s.RevertSnapshot(ctx, name, compute.RevertOptions{Force: true})
	return s.Snapshotter.DeleteSnapshot(ctx, name)
}

var (
	_ compute.Filer  = wrongFiles{}
	_ compute.Dialer = wrongDialer{}
	_ compute.Cloner = wrongCloner{}

	_ compute.Snapshotter = wrongSnapshotter{}
)

// withFeatures changes what is declared of each kind of instance.
func withFeatures(change func(resource.Features)) func(univirt.Description) univirt.Description {
	return func(desc univirt.Description) univirt.Description {
		kinds := map[compute.Kind]univirt.KindDescription{}
		for kind, k := range desc.Kinds {
			k.Features = resource.Clone(k.Features)
			change(k.Features)
			kinds[kind] = k
		}
		desc.Kinds = kinds
		return desc
	}
}

// wrongExecution changes what an execution says.
type wrongExecution struct {
	compute.Execution
	exit func(compute.ExecExit) compute.ExecExit
}

func (x *wrongExecution) Wait(ctx context.Context) (compute.ExecExit, error) {
	exit, err := x.Execution.Wait(ctx)
	return x.exit(exit), err
}

func withExecution(set func(*wrongExecution)) func(context.Context, compute.Instance, compute.ExecSpec) (compute.Execution, error) {
	return func(ctx context.Context, real compute.Instance, spec compute.ExecSpec) (compute.Execution, error) {
		x, err := compute.Exec(ctx, real, spec)
		if err != nil {
			return nil, err
		}
		wrong := &wrongExecution{Execution: x}
		set(wrong)
		return wrong, nil
	}
}

type wrongAttachment struct {
	compute.Attachment
	inst compute.Instance
}

func (a wrongAttachment) Close() error {
	return errors.Join(a.Attachment.Close(), a.inst.Stop(context.Background(), compute.StopOptions{Force: true}))
}

type wrongConsole struct {
	io.ReadWriteCloser
	inst compute.Instance
}

func (c wrongConsole) Close() error {
	return errors.Join(c.ReadWriteCloser.Close(), c.inst.Stop(context.Background(), compute.StopOptions{Force: true}))
}
