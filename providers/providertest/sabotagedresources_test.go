package providertest

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// wrongResources are wrong about images, volumes and networks.
func wrongResources() []sabotage {
	return []sabotage{
		{"an image in use that can be deleted", "images", "Delete of an image in use is FailedPrecondition", withImages(func(i *wrongImages) {
			i.delete = func(context.Context, compute.Images, string) error { return nil }
		}), ""},
		{"a name whose delete takes the image", "images", "Delete of one of an image's names leaves the others", withImages(func(i *wrongImages) {
			i.delete = func(ctx context.Context, real compute.Images, name string) error {
				image, err := real.Get(ctx, name)
				if err != nil {
					return err
				}
				return real.Delete(ctx, image.Ref.ID, compute.DeleteImageOptions{})
			}
		}), ""},
		{"an ID that stands for the first name", "images", "Delete of an image by its ID removes all of its names", withImages(func(i *wrongImages) {
			i.delete = func(ctx context.Context, real compute.Images, id string) error {
				if image, err := real.Get(ctx, id); err == nil {
					id = image.Names[0]
				}
				return real.Delete(ctx, id, compute.DeleteImageOptions{})
			}
		}), ""},
		{"a policy of always that takes what is there", "images", "Create asks the registry where the policy is always", withPolicy(compute.PullIfMissing), "what the name means by now"},
		{"a policy of if-missing that asks the registry", "images", "Create asks the registry where the policy is always", withPolicy(compute.PullAlways), "the image that is there"},
		{"a registry that need not know of the image", "images", "Create does not take what is there", withPolicy(compute.PullIfMissing), ""},
		{"refusals that are not told apart", "images", "Pull from a registry that forbids the image", withImages(func(i *wrongImages) {
			i.pull = func(ctx context.Context, real compute.Images, ref string, opts compute.PullOptions) (compute.Image, error) {
				image, err := real.Pull(ctx, ref, opts)
				if err != nil {
					err = resource.Fail("pull", resource.Ref{Name: ref}, resource.Errorf(errdefs.ErrUnavailable, "the registry"))
				}
				return image, err
			}
		}), ""},
		{"a refused pull that leaves an image", "images", "Pull from a registry whose content is not what its digest says", withImages(func(i *wrongImages) {
			i.pull = func(ctx context.Context, real compute.Images, ref string, opts compute.PullOptions) (compute.Image, error) {
				image, err := real.Pull(ctx, ref, opts)
				if err != nil {
					_, pullErr := real.Pull(ctx, "docker.io/library/remote:1", opts)
					err = errors.Join(err, pullErr)
				}
				return image, err
			}
		}), ""},
		{"a volume that is created twice", "volumes", "A volume's name is unique", withVolumes(func(ctx context.Context, real storage.Volumes, spec storage.Spec) (storage.Volume, error) {
			if got, err := real.Get(ctx, spec.Name); err == nil {
				return got, nil
			}
			return real.Create(ctx, spec)
		}), ""},
		{"a pool that is never full", "volumes", "A pool that is full is ResourceExhausted", withVolumes(func(ctx context.Context, real storage.Volumes, spec storage.Spec) (storage.Volume, error) {
			v, err := real.Create(ctx, spec)
			if errdefs.IsResourceExhausted(err) {
				spec.Size = 0
				return real.Create(ctx, spec)
			}
			return v, err
		}), ""},
		{"a volume that is left in a full pool", "volumes", "A pool that is full is ResourceExhausted", withVolumes(func(ctx context.Context, real storage.Volumes, spec storage.Spec) (storage.Volume, error) {
			v, err := real.Create(ctx, spec)
			if errdefs.IsResourceExhausted(err) {
				spec.Size = 0
				_, _ = real.Create(ctx, spec)
			}
			return v, err
		}), ""},
		{"a network that is created twice", "networks", "A network's name is unique", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.networks = func(real network.Networks) network.Networks { return wrongNetworks{real} }
		}, ""},
		{"a fixed address that is a wish", "networks", "Of many Creates with one address one succeeds", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				inst, err := real.Create(ctx, spec)
				if errdefs.IsAlreadyExists(err) {
					spec = spec.Clone()
					spec.Networks[0].Addresses = nil
					return real.Create(ctx, spec)
				}
				return inst, err
			}
		}, ""},
		{"a host port that is no matter", "networks", "Of many Starts that publish one port of the host", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.start = func(ctx context.Context, real compute.Instance, opts compute.StartOptions) error {
				err := real.Start(ctx, opts)
				if errdefs.IsAlreadyExists(err) {
					return nil
				}
				return err
			}
		}, ""},
		{"an instance that is left without an address", "networks", "Create on a network without an address left", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
				inst, err := real.Create(ctx, spec)
				if errdefs.IsResourceExhausted(err) {
					spec.Networks = nil
					_, _ = real.Create(ctx, spec)
				}
				return inst, err
			}
		}, ""},
	}
}

// wrongImages does something else than images do where a function is set.
type wrongImages struct {
	compute.Images
	delete func(ctx context.Context, real compute.Images, nameOrID string) error
	pull   func(ctx context.Context, real compute.Images, ref string, opts compute.PullOptions) (compute.Image, error)
}

func (i *wrongImages) Delete(ctx context.Context, nameOrID string, opts compute.DeleteImageOptions) error {
	if i.delete != nil {
		return i.delete(ctx, i.Images, nameOrID)
	}
	return i.Images.Delete(ctx, nameOrID, opts)
}

func (i *wrongImages) Pull(ctx context.Context, ref string, opts compute.PullOptions) (compute.Image, error) {
	if i.pull != nil {
		return i.pull(ctx, i.Images, ref, opts)
	}
	return i.Images.Pull(ctx, ref, opts)
}

func withImages(set func(*wrongImages)) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
		s.images = func(real compute.Images) compute.Images {
			wrong := &wrongImages{Images: real}
			set(wrong)
			return wrong
		}
	}
}

// withPolicy replaces a policy that may pull by another.
func withPolicy(policy compute.PullPolicy) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
		s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
			if spec.Pull != compute.PullNever {
				spec.Pull = policy
			}
			return real.Create(ctx, spec)
		}
	}
}

type volumeCreation func(ctx context.Context, real storage.Volumes, spec storage.Spec) (storage.Volume, error)

// wrongVolumes creates volumes otherwise.
type wrongVolumes struct {
	storage.Volumes
	create volumeCreation
}

func (v wrongVolumes) Unwrap() storage.Volumes { return v.Volumes }

func (v wrongVolumes) Create(ctx context.Context, spec storage.Spec) (storage.Volume, error) {
	return v.create(ctx, v.Volumes, spec)
}

func withVolumes(create volumeCreation) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
		s.volumes = func(real storage.Volumes) storage.Volumes { return wrongVolumes{real, create} }
	}
}

type wrongNetworks struct{ network.Networks }

func (n wrongNetworks) Create(ctx context.Context, spec network.Spec) (network.Network, error) {
	if got, err := n.Networks.Get(ctx, spec.Name); err == nil {
		return got, nil
	}
	return n.Networks.Create(ctx, spec)
}

var (
	_ compute.Images   = (*wrongImages)(nil)
	_ storage.Volumes  = wrongVolumes{}
	_ network.Networks = wrongNetworks{}
)
