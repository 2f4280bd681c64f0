package containerd

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func rules(names ...string) string {
	text := `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[`
	for i, n := range names {
		if i > 0 {
			text += ","
		}
		text += `{"names":["` + n[:1] + `"],"action":"SCMP_ACT_ALLOW"` + n[1:] + `}`
	}
	return text + `]}`
}

func TestParseSeccomp(t *testing.T) {
	caps := []string{"CAP_CHOWN"}
	for name, c := range map[string]struct {
		profile string
		want    []string // the calls that rules are left for
		fault   bool
	}{
		"no condition":          {profile: rules("a", "b"), want: []string{"a", "b"}},
		"includes capability":   {profile: rules(`a,"includes":{"caps":["CAP_CHOWN"]}`, `b,"includes":{"caps":["CAP_SYS_ADMIN"]}`), want: []string{"a"}},
		"excludes capability":   {profile: rules(`a,"excludes":{"caps":["CAP_CHOWN"]}`, `b,"excludes":{"caps":["CAP_SYS_ADMIN"]}`), want: []string{"b"}},
		"includes architecture": {profile: rules(`a,"includes":{"arches":["`+native.name+`"]}`, `b,"includes":{"arches":["none"]}`), want: []string{"a"}},
		"excludes architecture": {profile: rules(`a,"excludes":{"arches":["`+native.name+`"]}`, `b,"excludes":{"arches":["none"]}`), want: []string{"b"}},
		"kernel":                {profile: rules(`a,"includes":{"minKernel":"2.6"}`, `b,"includes":{"minKernel":"99.0"}`), want: []string{"a"}},
		"kernel excluded":       {profile: rules(`a,"excludes":{"minKernel":"2.6"}`, `b,"excludes":{"minKernel":"99.0"}`), want: []string{"b"}},
		"one name":              {profile: `{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"name":"a","action":"SCMP_ACT_ERRNO","errnoRet":1,"comment":"x"}]}`, want: []string{"a"}},
		"empty":                 {profile: `{"defaultAction":"SCMP_ACT_ALLOW"}`},
		"no JSON":               {profile: `x`, fault: true},
		"text behind":           {profile: `{"defaultAction":"SCMP_ACT_ALLOW"} x`, fault: true},
		"no action":             {profile: `{}`, fault: true},
		"unknown action":        {profile: `{"defaultAction":"allow"}`, fault: true},
		"unknown condition":     {profile: rules(`a,"includes":{"moon":"full"}`), fault: true},
		"malformed kernel":      {profile: rules(`a,"includes":{"minKernel":"new"}`), fault: true},
		"a rule without calls":  {profile: `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}`, fault: true},
		"a listener":            {profile: `{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}`, fault: true},
		"notify":                {profile: `{"defaultAction":"SCMP_ACT_NOTIFY"}`, fault: true},
	} {
		t.Run(name, func(t *testing.T) {
			have, err := parseSeccomp([]byte(c.profile), caps)
			if c.fault {
				require.NotEmpty(t, resource.FaultsOf(err))
				assert.Equal(t, "security.seccomp", resource.FaultsOf(err)[0].Field)
				return
			}
			require.NoError(t, err)
			var names []string
			for _, rule := range have.Syscalls {
				names = append(names, rule.Names...)
			}
			assert.Equal(t, c.want, names)
		})
	}
	have, err := parseSeccomp([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[
		{"architecture":"`+string(native.arch)+`","subArchitectures":["SCMP_ARCH_X"]},{"architecture":"SCMP_ARCH_OTHER"}]}`), nil)
	require.NoError(t, err)
	assert.Equal(t, []specs.Arch{native.arch, "SCMP_ARCH_X"}, have.Architectures)
}

func FuzzParseSeccomp(f *testing.F) {
	f.Add(rules(`a,"includes":{"caps":["CAP_CHOWN"],"minKernel":"4.8"}`))
	f.Add(`{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := parseSeccomp([]byte(text), []string{"CAP_CHOWN"})
		if err != nil {
			require.NotEmpty(t, resource.FaultsOf(err))
			return
		}
		require.Contains(t, seccompActions, filter.DefaultAction)
		for _, rule := range filter.Syscalls {
			require.NotEmpty(t, rule.Names)
			require.Contains(t, seccompActions, rule.Action)
		}
	})
}
