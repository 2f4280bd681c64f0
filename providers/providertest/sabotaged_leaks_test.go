package providertest

import (
	"context"
	"iter"
	"time"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// leak is a sabotage by which a thing of some kind is left.
type leak struct {
	kind string
	sabotage
}

// leakKinds are the kinds of things that are counted: goroutines by the suite
// itself, and what the inventories of harnesses list.
var leakKinds = []string{
	"goroutine", "instance", "process", "cgroup", "snapshot", "mount", "lease", "image", "content", "folder", "fifo",
	"volume", "network", "address",
}

// stuck begins a goroutine that goes on until the test is over.
func stuck(over <-chan struct{}) { go func() { <-over }() }

// leaks are one of each kind: what goes on in this process, and what stays at the
// backend, after each thing that could leave it.
func leaks() []leak {
	const inProcess, atBackend, grows = "goroutines of the case go on", "left something at the backend", "what the backend holds grows"
	return []leak{
		{"goroutine", sabotage{"a goroutine that an open provider value leaves", "leaks", "Provider values leave nothing behind", func(s *saboteur, _ *leftThings, over <-chan struct{}) {
			stuck(over)
		}, inProcess}},
		{"goroutine", sabotage{"a goroutine for each instance", "leaks", "Idle instances hold no goroutines", func(s *saboteur, _ *leftThings, over <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				stuck(over)
				return real.Create(ctx, spec)
			}
		}, "the number of goroutines is as before"}},
		{"goroutine", sabotage{"a goroutine of a watch that was left early", "watch", "A loop over a watch may be left early", func(s *saboteur, _ *leftThings, over <-chan struct{}) {
			s.watch = func(_ context.Context, _ resource.WatchOptions, real iter.Seq2[resource.Event, error]) iter.Seq2[resource.Event, error] {
				return func(yield func(resource.Event, error) bool) {
					for event, err := range real {
						if !yield(event, err) {
							stuck(over)
							return
						}
					}
				}
			}
		}, inProcess}},
		{"goroutine", sabotage{"a goroutine of an execution", "leaks", "Executions leave nothing behind", func(s *saboteur, _ *leftThings, over <-chan struct{}) {
			s.exec = func(ctx context.Context, real compute.Instance, spec compute.ExecSpec) (compute.Execution, error) {
				stuck(over)
				return compute.Exec(ctx, real, spec)
			}
		}, inProcess}},
		{"instance", sabotage{"an instance after a Create that was cancelled", "cancel", "A Create that is cancelled in its middle", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				inst, err := real.Create(context.WithoutCancel(ctx), spec)
				if err == nil {
					if _, late := ctx.Deadline(); late && spec.Name != "web-0" {
						<-ctx.Done()
						return nil, resource.Fail("create", resource.Ref{Name: spec.Name}, ctx.Err())
					}
				}
				return inst, err
			}
		}, ""}},
		{"instance", sabotage{"an instance after a Run whose start failed", "run", "Run whose start fails deletes the instance", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.delete = func(context.Context, compute.Instance, compute.DeleteOptions) error { return nil }
		}, ""}},
		{"instance", sabotage{"a copy after a Clone that was cancelled", "cancel", "A context that ends in the middle of clone", within(func(real compute.Instance) compute.Instance {
			return leakyCloner{real}
		}), ""}},
		{"process", sabotage{"a shim after each run", "leaks", "Runs leave nothing behind", func(s *saboteur, left *leftThings, _ <-chan struct{}) {
			s.start = func(ctx context.Context, real compute.Instance, opts compute.StartOptions) error {
				left.add(s.namespace, "process")
				return real.Start(ctx, opts)
			}
		}, grows}},
		{"cgroup", sabotage{"a cgroup after a start that failed", "leaks", "Starts that fail leave nothing behind", func(s *saboteur, left *leftThings, _ <-chan struct{}) {
			s.start = func(ctx context.Context, real compute.Instance, opts compute.StartOptions) error {
				err := real.Start(ctx, opts)
				if err != nil {
					left.add(s.namespace, "cgroup")
				}
				return err
			}
		}, grows}},
		{"snapshot", sabotage{"a snapshot after Delete", "lifecycle", "Delete removes a stopped instance", leftByDelete("snapshot"), atBackend}},
		{"mount", sabotage{"a mount after Delete by force", "lifecycle", "Delete by force ends the run", leftByDelete("mount"), atBackend}},
		{"folder", sabotage{"a folder of logs after each life", "leaks", "Lives leave nothing behind", leftByDelete("folder"), grows}},
		{"lease", sabotage{"a lease after a Create that failed", "errors", "Create with an image that is not there", func(s *saboteur, left *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				inst, err := real.Create(ctx, spec)
				if err != nil {
					left.add(s.namespace, "lease")
				}
				return inst, err
			}
		}, atBackend}},
		{"fifo", sabotage{"a pipe after an execution that nobody waits for", "leaks", "Executions that nobody waits for", func(s *saboteur, left *leftThings, _ <-chan struct{}) {
			s.exec = func(ctx context.Context, real compute.Instance, spec compute.ExecSpec) (compute.Execution, error) {
				left.add(s.namespace, "fifo")
				return compute.Exec(ctx, real, spec)
			}
		}, atBackend}},
		{"image", sabotage{"an image that was refused", "images", "Pull asks Verify before it unpacks", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.images = func(real compute.Images) compute.Images { return unverifyingImages{real} }
		}, ""}},
		{"content", sabotage{"content of an image after its Delete", "leaks", "An image that is deleted", func(s *saboteur, left *leftThings, _ <-chan struct{}) {
			s.images = func(real compute.Images) compute.Images {
				return leakyImages{real, func() { left.add(s.namespace, "content") }}
			}
		}, grows}},
		{"volume", sabotage{"a volume that Sweep does not know", "volumes", "An ephemeral volume goes with its maker", func(s *saboteur, left *leftThings, _ <-chan struct{}) {
			s.close = func(p univirt.Provider) error { left.add(s.namespace, "volume"); return p.Close() }
		}, atBackend}},
		{"network", sabotage{"a network interface after Delete of a network", "networks", "A network with endpoints cannot be deleted", leftByNetworks("network"), atBackend}},
		{"address", sabotage{"an address after Delete of a network", "networks", "An endpoint is reserved and released", leftByNetworks("address"), atBackend}},
	}
}

// leftByDelete leaves a thing at each Delete of an instance.
func leftByDelete(thing string) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, left *leftThings, _ <-chan struct{}) {
		s.delete = func(ctx context.Context, real compute.Instance, opts compute.DeleteOptions) error {
			left.add(s.namespace, thing)
			return real.Delete(ctx, opts)
		}
	}
}

// leftByNetworks leaves a thing at each Create of a network, as if its Delete
// forgot it.
func leftByNetworks(thing string) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, left *leftThings, _ <-chan struct{}) {
		s.networks = func(real network.Networks) network.Networks {
			return leakyNetworks{real, func() { left.add(s.namespace, thing) }}
		}
	}
}

type leakyNetworks struct {
	network.Networks
	leak func()
}

func (n leakyNetworks) Create(ctx context.Context, spec network.Spec) (network.Network, error) {
	n.leak()
	return n.Networks.Create(ctx, spec)
}

type leakyImages struct {
	compute.Images
	leak func()
}

func (i leakyImages) Delete(ctx context.Context, nameOrID string, opts compute.DeleteImageOptions) error {
	i.leak()
	return i.Images.Delete(ctx, nameOrID, opts)
}

// unverifyingImages asks whether an image is right when it is there already.
type unverifyingImages struct{ compute.Images }

func (i unverifyingImages) Pull(ctx context.Context, ref string, opts compute.PullOptions) (compute.Image, error) {
	verify := opts.Verify
	opts.Verify = nil
	image, err := i.Images.Pull(ctx, ref, opts)
	if err == nil && verify != nil {
		err = resource.Fail("pull", image.Ref, verify(ctx, ref, image.Ref.ID))
	}
	return image, err
}

// leakyCloner makes the copy though its context has ended.
type leakyCloner struct{ compute.Instance }

func (c leakyCloner) Unwrap() compute.Instance { return c.Instance }

func (c leakyCloner) Clone(ctx context.Context, opts compute.CloneOptions) (compute.Instance, error) {
	inst, err := compute.Clone(context.WithoutCancel(ctx), c.Instance, opts)
	if end, ok := ctx.Deadline(); err == nil && ok && time.Until(end) < time.Second {
		<-ctx.Done()
		return nil, resource.Fail("clone", resource.Ref{ID: c.ID()}, ctx.Err())
	}
	return inst, err
}
