package libvirt

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
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
		if _, err := parseReply[handleReply](text); err != nil {
			require.ErrorIs(t, err, errdefs.ErrDataLoss)
		}
	})
}
