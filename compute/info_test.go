package compute_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestFilter(t *testing.T) {
	info := compute.Info{
		Ref: resource.Ref{Name: "web", ID: someID}, Managed: true, Kind: compute.Container, State: compute.Running,
		Image: resource.Ref{Name: "docker.io/library/nginx:latest", ID: sha256}, Labels: resource.Labels{"tier": "web"},
	}
	foreign := info
	foreign.Managed = false
	for _, c := range []struct {
		filter           compute.Filter
		managed, foreign bool
	}{
		{compute.Filter{}, true, false},
		{compute.Filter{Unmanaged: true}, true, true},
		{compute.Filter{Names: []string{"other", "web"}}, true, false},
		{compute.Filter{Names: []string{"other"}, Unmanaged: true}, false, false},
		{compute.Filter{IDs: []string{someID}, Unmanaged: true}, true, true},
		{compute.Filter{IDs: []string{"other"}}, false, false},
		{compute.Filter{Kinds: []compute.Kind{compute.VM, compute.Container}}, true, false},
		{compute.Filter{Kinds: []compute.Kind{compute.VM}}, false, false},
		{compute.Filter{States: []compute.State{compute.Running}}, true, false},
		{compute.Filter{States: []compute.State{compute.Stopped}}, false, false},
		{compute.Filter{Images: []string{sha256}}, true, false},
		{compute.Filter{Images: []string{"docker.io/library/nginx:latest"}}, true, false},
		{compute.Filter{Images: []string{"nginx"}}, true, false},
		{compute.Filter{Images: []string{"nginx:1"}}, false, false},
		{compute.Filter{Selector: resource.Select(resource.Equals("tier", "web"))}, true, false},
		{compute.Filter{Selector: resource.Select(resource.DoesNotExist("tier"))}, false, false},
		{compute.Filter{Names: []string{"web"}, States: []compute.State{compute.Paused}}, false, false},
	} {
		assert.Equal(t, c.managed, c.filter.Matches(info), "%+v", c.filter)
		assert.Equal(t, c.foreign, c.filter.Matches(foreign), "%+v", c.filter)
	}
}

func TestInfoAddress(t *testing.T) {
	assert.Equal(t, netip.Addr{}, compute.Info{}.Address())
	assert.Equal(t, netip.Addr{}, compute.Info{Endpoints: endpoints("")}.Address())
	assert.Equal(t, addr("10.0.0.1"), compute.Info{Endpoints: endpoints("", "10.0.0.1/24", "10.0.0.2/24")}.Address())
}

func TestRateOf(t *testing.T) {
	at := func(seconds float64, cpu time.Duration, read, received int64) compute.Stats {
		return compute.Stats{
			Ref: resource.Ref{ID: someID}, Run: "1", Time: time.Unix(0, int64(seconds*1e9)), CPU: compute.CPUStats{Usage: cpu},
			Disk:    compute.IOStats{ReadBytes: read, WriteBytes: -1},
			Network: []compute.NetworkStats{{Endpoint: "a", ReceiveBytes: received, TransmitBytes: 10}},
		}
	}
	rate, ok := compute.RateOf(at(1, time.Second, 0, 100), at(3, 4*time.Second, 4096, 300))
	require.True(t, ok)
	assert.Equal(t, compute.Rate{CPUs: 1.5, DiskRead: 2048, NetReceive: 100}, rate)

	rate, ok = compute.RateOf(at(1, 2*time.Second, 100, 100), at(2, time.Second, 50, 50))
	require.True(t, ok)
	assert.Equal(t, compute.Rate{}, rate, "a counter that fell gives no absurd rate")

	more := at(2, 0, 0, 0)
	more.Network = append(more.Network, compute.NetworkStats{Endpoint: "b", ReceiveBytes: 1 << 40})
	rate, ok = compute.RateOf(at(1, 0, 0, 0), more)
	require.True(t, ok)
	assert.Zero(t, rate.NetReceive, "what was plugged in between has no rate yet")

	for name, change := range map[string]func(*compute.Stats){
		"another run":      func(s *compute.Stats) { s.Run = "2" },
		"another instance": func(s *compute.Stats) { s.Ref.ID = "other" },
		"the same time":    func(s *compute.Stats) { s.Time = time.Unix(1, 0) },
		"before":           func(s *compute.Stats) { s.Time = time.Unix(0, 0) },
	} {
		later := at(2, 0, 0, 0)
		change(&later)
		_, ok := compute.RateOf(at(1, 0, 0, 0), later)
		assert.False(t, ok, name)
	}
}

// tuning is a native value as a provider would have it.
type tuning struct{ version string }

func (tuning) NativeProvider() string  { return "containerd" }
func (t tuning) NativeVersion() string { return t.version }

func TestNatives(t *testing.T) {
	own := tuning{"v1"}
	natives := compute.Natives{compute.RecordedNative{Provider: "libvirt", Version: "7"}, own}
	assert.Equal(t, own, natives.For("containerd"))
	assert.Nil(t, natives.For("fake"))
	assert.Nil(t, compute.Natives(nil).For("fake"))

	data, err := json.Marshal(natives)
	require.NoError(t, err)
	assert.JSONEq(t, `[{"provider":"libvirt","version":"7"},{"provider":"containerd","version":"v1"}]`, string(data))
	var back compute.Natives
	require.NoError(t, json.Unmarshal(data, &back))
	assert.Equal(t, compute.Natives{
		compute.RecordedNative{Provider: "libvirt", Version: "7"}, compute.RecordedNative{Provider: "containerd", Version: "v1"},
	}, back)

	// What was stored of a value is that value, until its version changes.
	stored, wanted := compute.Spec{Native: back}, compute.Spec{Native: natives}
	assert.Empty(t, resource.Unmet(stored, wanted))
	wanted.Native[1] = tuning{"v2"}
	assert.Equal(t, []string{"native"}, resource.Unmet(stored, wanted))

	_, err = json.Marshal(compute.Natives{nil})
	assert.ErrorContains(t, err, "native[0] is nil")
	for _, bad := range []string{`{}`, `["a"]`, `[{"provider":"a","more":1}]`, `[{"version":1}]`} {
		assert.Error(t, json.Unmarshal([]byte(bad), &back), bad)
	}
}
