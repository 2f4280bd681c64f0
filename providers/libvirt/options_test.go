package libvirt

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func TestURLsOfConnections(t *testing.T) {
	for text, want := range map[string]string{
		"libvirt:":                                               "",
		"libvirt:///system":                                      "qemu:///system",
		"libvirt:///session":                                     "qemu:///session",
		"libvirt:///system?socket=/x/y":                          "qemu:///system?socket=%2Fx%2Fy",
		"libvirt+unix:///system?socket=/x":                       "qemu+unix:///system?socket=%2Fx",
		"libvirt+ssh://root@host:22/system":                      "qemu+ssh://root@host:22/system",
		"libvirt+ssh://host/session?keyfile=/k&namespace=team":   "qemu+ssh://host/session?keyfile=%2Fk",
		"libvirt+tls://host/system?no_verify=1&pkipath=/etc/pki": "qemu+tls://host/system?no_verify=1&pkipath=%2Fetc%2Fpki",
		"libvirt:test:///default?owner=me":                       "test:///default",
		"libvirt:test:///path/to.xml":                            "test:///path/to.xml",
		"libvirt:qemu+ssh://host/system":                         "qemu+ssh://host/system",
	} {
		u, err := url.Parse(text)
		require.NoError(t, err, text)
		opts, err := parseURL(u)
		require.NoError(t, err, text)
		assert.Equal(t, want, opts.URI, text)
	}
}

func TestURLsThatCannotBe(t *testing.T) {
	for text, field := range map[string]string{
		"libvirt://host/system":            "url.scheme",
		"libvirt:///elsewhere":             "url.path",
		"libvirt+ssh:///system":            "url.host",
		"libvirt+carrier-pigeon:///system": "url.scheme",
		"libvirt+ssh:test:///default":      "url.scheme",
		"libvirt:relative":                 "url.opaque",
		"libvirt+ssh://u:p@host/system":    "url.user",
		"libvirt:///system?unknown=1":      "url.query[unknown]",
		"libvirt:///system#fragment":       "url.fragment",
		"libvirt:?leave=true":              "url.query[leave]",
		"libvirt:?supervise=maybe":         "url.query[supervise]",
		"libvirt:?managed=/x&leave=x":      "url.query[leave]",
	} {
		u, err := url.Parse(text)
		require.NoError(t, err, text)
		_, err = parseURL(u)
		require.Error(t, err, text)
		assert.Equal(t, field, resource.FaultsOf(err)[0].Field, text)
	}
}

func TestAURLOfAManagedDaemon(t *testing.T) {
	u, err := url.Parse("libvirt:?managed=/var/lib/app/vms&leave=true&acceleration=none")
	require.NoError(t, err)
	opts, err := parseURL(u)
	require.NoError(t, err)
	assert.Equal(t, Options{Managed: &Managed{Dir: "/var/lib/app/vms", Leave: true}, Acceleration: AccelerationNone}, opts)
	opts, faults := opts.normalise()
	require.Empty(t, faults)
	assert.Equal(t, "/var/lib/app/vms/univirt", opts.StateDir)
}

func TestAURLThatAsksForASupervisor(t *testing.T) {
	for text, want := range map[string]bool{"libvirt:": false, "libvirt:?supervise=true": true, "libvirt:///system?supervise=1": true, "libvirt:?supervise=false": false} {
		u, err := url.Parse(text)
		require.NoError(t, err, text)
		opts, err := parseURL(u)
		require.NoError(t, err, text)
		assert.Equal(t, want, opts.Supervise, text)
	}
}

func TestFaultsOfOptions(t *testing.T) {
	_, faults := Options{Managed: &Managed{Dir: "x", Binary: "y", StartTimeout: -1}, URI: "test:///default"}.normalise()
	assert.Equal(t, []string{"uri", "managed.dir", "managed.binary", "managed.startTimeout"}, fieldsOf(faults[:4]))
	_, faults = Options{URI: "qemu+libssh://host/system"}.normalise()
	assert.Equal(t, []string{"uri"}, fieldsOf(faults), "it would crash")
	_, faults = Options{URI: "no uri", Acceleration: "magic", Namespace: "A", Owner: "a b", StateDir: "y", ConsoleDir: "x", ConnectTimeout: -1}.normalise()
	_, none := Options{OtherNetworks: []network.Networks{network.Absent("none"), nil}}.normalise()
	assert.Equal(t, []string{"otherNetworks[1]"}, fieldsOf(none))
	assert.Equal(t, []string{"acceleration", "uri", "namespace", "owner", "stateDir", "consoleDir", "connectTimeout"}, fieldsOf(faults))
}

func fieldsOf(faults resource.Faults) []string {
	var fields []string
	for _, f := range faults {
		fields = append(fields, f.Field)
	}
	return fields
}
