package providertest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
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
		{"a network that is created twice", "networks", "A network's name is unique", withNetworks(func(n *wrongNetworks) {
			n.create = func(ctx context.Context, real network.Networks, spec network.Spec) (network.Network, error) {
				if got, err := real.Get(ctx, spec.Name); err == nil {
					return got, nil
				}
				return real.Create(ctx, spec)
			}
		}), ""},
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
		{"an endpoint that is not kept for whom it is meant", "networks", "An endpoint that is meant for another instance", withSpec(func(s *network.EndpointSpec) {
			s.For = resource.Ref{}
		}), ""},
		{"an endpoint that forgets who it is for", "networks", "An endpoint is reserved for an instance of any provider", withSpec(func(s *network.EndpointSpec) {
			s.For.Provider = "fake"
		}), ""},
		{"an endpoint that is found by no name", "networks", "The names of an endpoint of another provider's instance", withSpec(func(s *network.EndpointSpec) {
			s.Aliases = nil
		}), ""},
		{"an endpoint that goes with its instance", "networks", "A reserved endpoint may be plugged in, and outlives", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.delete = func(ctx context.Context, real compute.Instance, opts compute.DeleteOptions) error {
				info, _ := real.Info(ctx)
				err := real.Delete(ctx, opts)
				for _, e := range info.Endpoints {
					_ = s.Provider.Networks().Handle(e.Network.ID).Endpoint(e.Ref.ID).Release(ctx)
				}
				return err
			}
		}, ""},
		{"an endpoint that is not there and not missed", "networks", "An endpoint that is not there is NotFound", withoutEndpoint(errdefs.IsNotFound), ""},
		{"an endpoint of a stranger that is not missed", "networks", "An endpoint of another namespace is NotFound", withoutEndpoint(errdefs.IsNotFound), ""},
		{"an endpoint that is another's and not missed", "networks", "Of many Creates with one endpoint", withoutEndpoint(errdefs.IsFailedPrecondition), ""},
		{"an endpoint of another value's network with another address", "networks", "An endpoint of another value's network may be plugged in",
			withEndpointInfo(func(e *network.EndpointInfo) {
				e.Addresses = []netip.Prefix{netip.MustParsePrefix("10.213.1.250/24")}
			}), ""},
		{"an endpoint of another value's network that nobody has and nobody misses", "networks", "An endpoint of another value's network that cannot be had",
			withoutEndpoint(errdefs.IsNotFound), ""},
		{"an endpoint of another value's network that is another's and not missed", "networks", "Of many Creates with one endpoint of another value's network",
			withoutEndpoint(errdefs.IsFailedPrecondition), ""},
		{"a lease of another address", "networks", "A guest that asks by DHCP", withEndpointInfo(func(e *network.EndpointInfo) {
			e.Addresses = []netip.Prefix{netip.MustParsePrefix("10.213.1.250/24")}
		}), ""},
		{"a lease that nobody gave", "networks", "An address on a subnet without DHCP", withEndpointInfo(func(e *network.EndpointInfo) {
			e.Source = "lease"
		}), ""},
		{"endpoints for others that are not declared and there", "capabilities", "What is declared of networks: networks.reserve", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.describe = withoutNetworkFeatures(network.FeatureReserve)
		}, ""},
		{"DHCP that is not declared and there", "capabilities", "What is declared of networks: networks.dhcp", func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
			s.describe = withoutNetworkFeatures(network.FeatureDHCP)
		}, ""},
		{"endpoints for others that are refused without a name", "capabilities", "What is declared of networks: networks.reserve", func(s *saboteur, left *leftThings, over <-chan struct{}) {
			withNetworks(func(n *wrongNetworks) {
				n.reserve = func(_ context.Context, real network.Network, _ network.EndpointSpec) (network.Endpoint, error) {
					return nil, resource.Fail("reserve", resource.Ref{Kind: resource.KindNetwork, ID: real.ID()}, errors.ErrUnsupported)
				}
			})(s, left, over)
			s.describe = withoutNetworkFeatures(network.FeatureReserve)
		}, "the field at fault"},
	}
}

// TestTheSuiteTakesARefusal holds that a provider that has not got a feature, says
// so, and refuses it by name, is right.
func TestTheSuiteTakesARefusal(t *testing.T) {
	for _, feature := range []resource.Feature{network.FeatureReserve, network.FeatureDHCP} {
		t.Run(string(feature), func(t *testing.T) {
			s, end := sabotaged(t, sabotage{plant: plainNetworks}, compute.Container)
			defer end()
			c := findCase(t, "capabilities", "What is declared of networks: "+string(feature))
			require.Empty(t, s.missing(c))
			r := record(s, c)
			assert.False(t, r.Failed(), r.text())
		})
	}
}

// plainNetworks takes from a provider what it may go without: DHCP, and endpoints
// for instances of others.
func plainNetworks(s *saboteur, _ *leftThings, _ <-chan struct{}) {
	refuse := func(op, field string) error {
		err := resource.Unsupported(field, "the network is plain")
		err.Field = field
		return resource.Fail(op, resource.Ref{Kind: resource.KindNetwork}, err)
	}
	s.describe = withoutNetworkFeatures(network.FeatureReserve, network.FeatureDHCP)
	s.networks = func(real network.Networks) network.Networks {
		return &wrongNetworks{
			Networks: real,
			create: func(ctx context.Context, real network.Networks, spec network.Spec) (network.Network, error) {
				for i, subnet := range spec.Subnets {
					if subnet.DHCP {
						return nil, refuse("create", fmt.Sprintf("subnets[%d].dhcp", i))
					}
				}
				return real.Create(ctx, spec)
			},
			reserve: func(ctx context.Context, real network.Network, spec network.EndpointSpec) (network.Endpoint, error) {
				if spec.For.Provider != "" && spec.For.Provider != "fake" {
					return nil, refuse("reserve", "for")
				}
				return real.Reserve(ctx, spec)
			},
		}
	}
}

func withoutNetworkFeatures(features ...resource.Feature) func(univirt.Description) univirt.Description {
	return func(desc univirt.Description) univirt.Description {
		desc.Networks.Features = resource.Clone(desc.Networks.Features)
		for _, feature := range features {
			desc.Networks.Features[feature] = resource.Support{Reason: "the network is plain"}
		}
		return desc
	}
}

// withoutEndpoint makes an instance without the endpoint that it cannot have.
func withoutEndpoint(cannot func(error) bool) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
		s.create = func(ctx context.Context, real compute.Instances, spec compute.Spec) (compute.Instance, error) {
			inst, err := real.Create(ctx, spec)
			if cannot(err) {
				spec.Networks = nil
				return real.Create(ctx, spec)
			}
			return inst, err
		}
	}
}

// withEndpointInfo changes what is told of the endpoints of an instance that runs.
func withEndpointInfo(change func(*network.EndpointInfo)) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
		s.info = func(ctx context.Context, real compute.Instance) (compute.Info, error) {
			info, err := real.Info(ctx)
			info.Endpoints = slices.Clone(info.Endpoints)
			for i := range info.Endpoints {
				change(&info.Endpoints[i])
			}
			return info, err
		}
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

type reservation func(ctx context.Context, real network.Network, spec network.EndpointSpec) (network.Endpoint, error)

// wrongNetworks creates networks otherwise, or endpoints of those that it created or has
// handles on.
type wrongNetworks struct {
	network.Networks
	create  func(ctx context.Context, real network.Networks, spec network.Spec) (network.Network, error)
	reserve reservation
}

func (n *wrongNetworks) Create(ctx context.Context, spec network.Spec) (network.Network, error) {
	create := n.create
	if create == nil {
		create = func(ctx context.Context, real network.Networks, spec network.Spec) (network.Network, error) {
			return real.Create(ctx, spec)
		}
	}
	made, err := create(ctx, n.Networks, spec)
	if err != nil || n.reserve == nil {
		return made, err
	}
	return wrongNetwork{made, n.reserve}, nil
}

func (n *wrongNetworks) Handle(id string) network.Network {
	if n.reserve == nil {
		return n.Networks.Handle(id)
	}
	return wrongNetwork{n.Networks.Handle(id), n.reserve}
}

type wrongNetwork struct {
	network.Network
	reserve reservation
}

func (n wrongNetwork) Reserve(ctx context.Context, spec network.EndpointSpec) (network.Endpoint, error) {
	return n.reserve(ctx, n.Network, spec)
}

func withNetworks(set func(*wrongNetworks)) func(*saboteur, *leftThings, <-chan struct{}) {
	return func(s *saboteur, _ *leftThings, _ <-chan struct{}) {
		s.networks = func(real network.Networks) network.Networks {
			wrong := &wrongNetworks{Networks: real}
			set(wrong)
			return wrong
		}
	}
}

// withSpec changes what is asked of endpoints.
func withSpec(change func(*network.EndpointSpec)) func(*saboteur, *leftThings, <-chan struct{}) {
	return withNetworks(func(n *wrongNetworks) {
		n.reserve = func(ctx context.Context, real network.Network, spec network.EndpointSpec) (network.Endpoint, error) {
			change(&spec)
			return real.Reserve(ctx, spec)
		}
	})
}

var (
	_ compute.Images   = (*wrongImages)(nil)
	_ storage.Volumes  = wrongVolumes{}
	_ network.Networks = (*wrongNetworks)(nil)
)

// TestTheSuiteSeesAGuestThatDoesNotAsk holds that a virtual machine must have a
// lease, which a container may do without.
func TestTheSuiteSeesAGuestThatDoesNotAsk(t *testing.T) {
	c := findCase(t, "networks", "A guest that asks by DHCP")
	for kind, wrong := range map[compute.Kind]bool{compute.VM: true, compute.Container: false} {
		s, end := sabotaged(t, sabotage{plant: withEndpointInfo(func(e *network.EndpointInfo) { e.Source = "assigned" })}, kind)
		r := record(s, c)
		end()
		assert.Equal(t, wrong, r.Failed(), "%s: %s", kind, r.text())
	}
}
