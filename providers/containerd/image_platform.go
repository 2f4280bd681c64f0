package containerd

import (
	"sync"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// platform is the platform that is wanted of an image. Images match it exactly:
// what the processor could run besides is asked for by name.
type platform struct {
	platforms.MatchComparer
	// host says that it is the host's own, which instances are made for.
	host bool
}

// hostPlatform looks at the processor, which importing the package must not.
var hostPlatform = sync.OnceValue(func() platform { return platform{platforms.DefaultStrict(), true} })

// choosePlatform completes the caller's choice; the zero value is the host's.
func choosePlatform(p compute.Platform) (platform, resource.Faults) {
	if p == (compute.Platform{}) {
		return hostPlatform(), nil
	}
	host := platforms.DefaultSpec()
	spec := ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	if spec.OS == "" {
		spec.OS = host.OS
	}
	if spec.Architecture == "" {
		spec.Architecture = host.Architecture
	}
	var faults resource.Faults
	if spec.OS != host.OS {
		faults.Add("platform.os", "must be %q, which is what containers of this host run", host.OS)
	}
	return platform{MatchComparer: platforms.OnlyStrict(spec)}, faults
}

// portable returns the platform in the API's words.
func portable(p ocispec.Platform) compute.Platform {
	return compute.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}
