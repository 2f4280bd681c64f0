package containerd

import (
	"cmp"
	"context"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// The releases of containerd that the provider is tested with.
const tested = "1.6.20 - 2.4.2"

var oldest, newest = [3]int{1, 6, 20}, [3]int{2, 4, 2}

// Describe implements univirt.Provider. A containerd that does not answer is a
// problem that the description tells, and no error.
func (p *Provider) Describe(ctx context.Context) (univirt.Description, error) {
	ref := resource.Ref{Provider: Scheme, Namespace: p.opts.Namespace}
	ctx, done, err := p.begin(ctx)
	if err != nil {
		return univirt.Description{}, resource.Fail("describe", ref, err)
	}
	defer done()
	version := p.conn.version
	var problems []string
	if answer, err := p.client.Version(ctx); err == nil {
		version = answer.Version
	} else if done := ended(ctx); done != nil {
		return univirt.Description{}, resource.Fail("describe", ref, done)
	} else {
		problems = append(problems, "containerd does not answer: "+translate(ctx, err).Error())
	}
	if d := p.conn.daemon; d != nil {
		if err := d.Health(); err != nil {
			problems = append(problems, err.Error())
		}
	}
	out := univirt.Description{
		Provider:  Scheme,
		Namespace: p.opts.Namespace,
		Owner:     p.owner,
		Backend: univirt.Backend{
			Name: "containerd", Version: version, Tested: tested, InWindow: inWindow(version), Address: p.conn.address,
			Details: map[string]string{
				"namespace":   p.space,
				"snapshotter": p.snapshotter,
				"runtime":     p.opts.Runtime,
				"state":       p.state.root,
				"cgroup":      map[bool]string{false: "v1", true: "v2"}[p.host.unified],
				"apparmor":    cmp.Or(p.host.apparmor, "none"),
				"managed":     strconv.FormatBool(p.conn.daemon != nil),
			},
		},
		Problems:    problems,
		DefaultKind: compute.Container,
		Kinds:       map[compute.Kind]univirt.KindDescription{compute.Container: p.kind},
		Images:      ImageFeatures(),
		Changes: map[resource.Kind]univirt.ChangeNotice{
			resource.KindInstance: univirt.ByEvent,
			resource.KindImage:    univirt.ByEvent,
		},
	}
	out.Capacity = p.capacity(ctx)
	if len(problems) == 0 {
		if out.Leftovers, err = p.leftovers(ctx); err != nil {
			return univirt.Description{}, resource.Fail("describe", ref, err)
		}
	}
	return out, nil
}

// ImageFeatures says what the provider offers for images, without a daemon.
func ImageFeatures() resource.Features {
	yes := resource.Support{Supported: true}
	return resource.Features{
		compute.FeaturePull:     yes,
		compute.FeatureImport:   yes,
		compute.FeatureExport:   yes,
		compute.FeatureRootFS:   yes,
		compute.FeatureDisk:     {Reason: "a container has no disk to boot from"},
		compute.FeatureProgress: yes,
	}
}

// capacity is that of this host, which is containerd's.
func (p *Provider) capacity(ctx context.Context) univirt.Capacity {
	c := univirt.Capacity{CPUs: float64(runtime.NumCPU()), Memory: -1, MemoryAvailable: -1, Disk: -1, DiskAvailable: -1, Instances: -1}
	hostMemory(&c)
	hostDisk(p.rootFolder(ctx), &c)
	return c
}

// rootFolder is where the snapshotter keeps root filesystems.
func (p *Provider) rootFolder(ctx context.Context) string {
	answer, err := p.client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1,id=="+p.snapshotter)
	if err == nil {
		for _, plugin := range answer.Plugins {
			if root := plugin.Exports["root"]; filepath.IsAbs(root) {
				return root
			}
		}
	}
	return p.state.root
}

// inWindow reports whether a release lies between those that were tested. A
// distribution's mark behind the number does not count.
func inWindow(version string) bool {
	v, ok := parseVersion(version)
	if !ok {
		return false
	}
	return compareVersions(v, oldest) >= 0 && compareVersions(v, newest) <= 0
}

func parseVersion(text string) (v [3]int, ok bool) {
	text = strings.TrimPrefix(text, "v")
	if end := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); end >= 0 {
		text = text[:end]
	}
	parts := strings.Split(text, ".")
	if len(parts) != len(v) {
		return v, false
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

func compareVersions(a, b [3]int) int {
	for i := range a {
		if a[i] != b[i] {
			return a[i] - b[i]
		}
	}
	return 0
}
