package libvirt

import (
	"net/netip"
	"strings"
	"testing"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
)

func TestRepliesOfAnAgent(t *testing.T) {
	status, err := parseReply[statusReply](`{"return":{"exited":true,"signal":9}}`)
	require.NoError(t, err)
	assert.Equal(t, compute.ExecExit{Known: true, Code: 137, Signal: "SIGKILL"}, status.exit())
	read, err := parseReply[readReply](`{"return":{"count":2,"buf-b64":"aGk=","eof":false}}`)
	require.NoError(t, err)
	assert.Equal(t, "hi", string(read.Data))
	_, err = parseReply[nothing](`{"return":{}}`)
	require.NoError(t, err)
}

func TestRepliesThatNoAgentWouldGive(t *testing.T) {
	for _, text := range []string{
		"", "null", "[]", "{}", `{"return":null}`, `{"return":[]}`, `{"return":{"pid":0}}`, `{"return":{"pid":1e99}}`,
		`{"return":{"pid":4294967296}}`, `{"return":{"pid":"1"}}`,
	} {
		_, err := parseReply[startedReply](text)
		require.ErrorIs(t, err, errdefs.ErrDataLoss, text)
	}
	for _, text := range []string{
		`{"return":{"count":3,"buf-b64":"aGk="}}`, `{"return":{"count":-1,"buf-b64":""}}`, `{"return":{"count":2,"buf-b64":"!!"}}`,
	} {
		_, err := parseReply[readReply](text)
		require.ErrorIs(t, err, errdefs.ErrDataLoss, text)
	}
	for _, text := range []string{`{"return":{"exited":true,"signal":-1}}`, `{"return":{"exited":true,"exitcode":99999999999}}`} {
		_, err := parseReply[statusReply](text)
		require.ErrorIs(t, err, errdefs.ErrDataLoss, text)
	}
}

// FuzzReplies holds that what an agent answers is what can be, or an error.
func FuzzReplies(f *testing.F) {
	f.Add(`{"return":{"pid":7}}`)
	f.Add(`{"return":{"exited":true,"exitcode":1,"out-data":"aGk="}}`)
	f.Add(`{"return":{"count":2,"buf-b64":"aGk=","eof":true}}`)
	f.Add(`{"return":1000}`)
	f.Add(`{"return":{"host-name":"web\\u0007\\n","pretty-name":"Debian GNU/Linux 12 (bookworm)","kernel-release":"6.1"}}`)
	f.Add(`{"error":{"class":"GenericError","desc":"no"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := parseReply[startedReply](text); err == nil {
			require.Positive(t, r.PID)
		}
		if r, err := parseReply[statusReply](text); err == nil {
			exit := r.exit()
			require.True(t, exit.Known)
			require.True(t, exit.Signal == "" || exit.Code > 128)
		}
		if r, err := parseReply[readReply](text); err == nil {
			require.LessOrEqual(t, len(r.Data), mostRead)
		}
		name, _ := parseReply[hostnameReply](text)
		system, _ := parseReply[systemReply](text)
		for _, line := range []string{told(name, system).Hostname, told(name, system).OSName} {
			require.LessOrEqual(t, len(line), mostText)
			require.False(t, strings.ContainsFunc(line, func(c rune) bool { return !unicode.IsPrint(c) }))
		}
		if _, err := parseReply[handleReply](text); err != nil {
			require.ErrorIs(t, err, errdefs.ErrDataLoss)
		}
	})
}

func TestAddressesThatAGuestTells(t *testing.T) {
	told, err := parseReply[interfacesReply](`{"return":[
		{"name":"lo","ip-addresses":[{"ip-address":"127.0.0.1","prefix":8}]},
		{"name":"eth0","hardware-address":"52:54:00:00:00:01","ip-addresses":[
			{"ip-address-type":"ipv4","ip-address":"10.1.2.3","prefix":24}, {"ip-address":"10.1.2.3","prefix":24},
			{"ip-address":"fe80::1","prefix":64}, {"ip-address":"fd00::1%eth0","prefix":64}, {"ip-address":"::ffff:10.0.0.1","prefix":64},
			{"ip-address":"10.1.2.4","prefix":33}, {"ip-address":"10.1.2.5","prefix":-1}, {"ip-address":"0.0.0.0","prefix":0},
			{"ip-address":"127.0.0.1","prefix":8}, {"ip-address":"web","prefix":8}, {"ip-address":"fd00::1","prefix":64}]},
		{"hardware-address":"x","ip-addresses":[{"ip-address":"10.1.2.9","prefix":24}]}]}`)
	require.NoError(t, err)
	var mac network.HardwareAddr
	require.NoError(t, mac.UnmarshalText([]byte("52:54:00:00:00:01")))
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("fd00::1/64")}, told.of(mac))
	assert.Empty(t, told.of(network.HardwareAddr{1, 2, 3, 4, 5, 6}))
}
