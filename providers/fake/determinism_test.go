package fake_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/storage"
)

func published(s *compute.Spec) { s.Ports = []network.Port{{Instance: 80, Publish: true}} }

func ofSubnet(cidr string) []network.Subnet {
	return []network.Subnet{{CIDR: netip.MustParsePrefix(cidr)}}
}

func TestTheOrderOfCallsMakesNoDifference(t *testing.T) {
	const count = 20
	dump := func(seed uint64, order func(each func(n int))) string {
		p := fake.Test(t, fake.Options{Seed: seed})
		common := lan(t, p, network.Spec{Name: "lan", Subnets: append(ofSubnet("172.16.0.0/12"), ofSubnet("fd00::/64")...)})
		createVolume(t, p, storage.Spec{Name: "data", Access: storage.ReadWriteMany})
		order(func(n int) {
			name := fmt.Sprintf("web-%d", n)
			_, err := p.Networks().Create(t.Context(), network.Spec{Name: name})
			assert.NoError(t, err)
			_, err = common.Reserve(t.Context(), network.EndpointSpec{Name: fmt.Sprintf("printer-%d", n)})
			assert.NoError(t, err)
			spec := compute.Spec{Name: name, Image: "app", Mounts: []compute.Mount{{Type: compute.MountVolume, Source: "data", Path: "/data"}}}
			on("lan", name)(&spec)
			published(&spec)
			if n%2 == 0 {
				// The second of a name is another than the first.
				inst, err := p.Instances().Create(t.Context(), spec)
				if assert.NoError(t, err) {
					assert.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{}))
				}
			}
			inst, err := p.Instances().Create(t.Context(), spec)
			if assert.NoError(t, err) {
				assert.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
			}
			_, err = p.Volumes().Create(t.Context(), storage.Spec{Name: name})
			assert.NoError(t, err)
		})
		return p.Dump()
	}
	inTurn := func(each func(n int)) {
		for n := range count {
			each(n)
		}
	}
	want := dump(1, inTurn)
	assert.NotEqual(t, want, dump(2, inTurn))
	for _, seen := range []string{"port: ", "endpoint: lan 02:", "endpoint: printer-0 02:", "subnet: 10.", "used by: web-0 web-1 web-10 "} {
		assert.Contains(t, want, seen)
	}
	assert.Equal(t, want, dump(1, func(each func(n int)) {
		for n := range count {
			each(count - 1 - n)
		}
	}))
	for range 5 {
		assert.Equal(t, want, dump(1, func(each func(n int)) {
			var all sync.WaitGroup
			for n := range count {
				all.Go(func() { each(n) })
			}
			all.Wait()
		}))
	}
}

// TestOfTwoThatAreToGetTheSameTheFirstGetsIt is about what is chosen from few.
func TestOfTwoThatAreToGetTheSameTheFirstGetsIt(t *testing.T) {
	place := func(t *testing.T, p *fake.Provider, subnets ...network.Subnet) {
		if _, err := p.Networks().Get(t.Context(), "lan"); err != nil {
			lan(t, p, network.Spec{Name: "lan", Subnets: subnets})
		}
	}
	for what, c := range map[string]struct {
		// names is how many it takes until two meet.
		names int
		take  func(t *testing.T, p *fake.Provider, name string) string
		next  func(t *testing.T, taken string) string
	}{
		"an address": {
			names: 60,
			take: func(t *testing.T, p *fake.Provider, name string) string {
				place(t, p, ofSubnet("192.168.0.0/24")...)
				return info(t, create(t, p, name, on("lan"))).Endpoints[0].Addresses[0].Addr().String()
			},
			next: func(t *testing.T, taken string) string { return netip.MustParseAddr(taken).Next().String() },
		},
		"a subnet": {
			names: 900,
			take: func(t *testing.T, p *fake.Provider, name string) string {
				i, err := lan(t, p, network.Spec{Name: name}).Info(t.Context())
				require.NoError(t, err)
				return i.Subnets[0].CIDR.String()
			},
			next: func(t *testing.T, taken string) string {
				a := netip.MustParsePrefix(taken).Addr().As4()
				require.Less(t, a[2], byte(255))
				a[2]++
				return netip.PrefixFrom(netip.AddrFrom4(a), 24).String()
			},
		},
		"a port of the host": {
			names: 600,
			take: func(t *testing.T, p *fake.Provider, name string) string {
				place(t, p)
				return strconv.Itoa(int(info(t, start(t, p, name, on("lan"), published)).Ports[0].Host))
			},
			next: func(t *testing.T, taken string) string {
				port, err := strconv.Atoi(taken)
				require.NoError(t, err)
				return strconv.Itoa(port + 1)
			},
		},
	} {
		t.Run(what, func(t *testing.T) {
			take := func(names ...string) []string {
				p := fake.New(fake.Options{Seed: 1})
				defer p.Close()
				var out []string
				for _, name := range names {
					out = append(out, c.take(t, p, name))
				}
				return out
			}
			// Each is alone on its backend, until one is given what another was.
			first := map[string]string{}
			var one, other, choice string
			for n := range c.names {
				other = fmt.Sprintf("web-%d", n)
				choice = take(other)[0]
				if one = first[choice]; one != "" {
					break
				}
				first[choice] = other
			}
			require.NotEmpty(t, one, "no two of %d meet", c.names)
			want := []string{choice, c.next(t, choice)}
			assert.Equal(t, want, take(one, other))
			assert.Equal(t, want, take(other, one))
		})
	}
}

func TestLatencyDoesNotDependOnTheOrderOfOthersCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 10
		run := func(seed uint64, first, step int) map[string]time.Duration {
			p := fake.Test(t, fake.Options{Seed: seed, Latency: fake.Latency{"": fake.Between(time.Second, time.Hour)}})
			took := map[string]time.Duration{}
			timed := func(what string, call func() error) {
				begun := time.Now()
				assert.NoError(t, call())
				took[what] = time.Since(begun)
			}
			for n := range count {
				name := fmt.Sprintf("app-%d", first+n*step)
				timed("pull "+name, func() error { return only(p.Images().Pull(t.Context(), name, compute.PullOptions{})) })
				timed("create "+name, func() error {
					return only(p.Instances().Create(t.Context(), compute.Spec{Name: name, Image: name}))
				})
			}
			return took
		}
		forwards := run(1, 0, 1)
		assert.Equal(t, forwards, run(1, count-1, -1))
		assert.NotEqual(t, forwards, run(2, 0, 1))
	})
}
