package guest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSignals(t *testing.T) {
	for sig, n := range signalNumbers {
		got, ok := ParseSignal("SIG" + strings.ToLower(string(sig)))
		assert.True(t, ok)
		assert.Equal(t, sig, got)
		byNumber, ok := SignalByNumber(n)
		assert.True(t, ok)
		assert.Equal(t, sig, byNumber)
		assert.Equal(t, 128+n, sig.ExitCode())
	}
	for _, bad := range []string{"", "SIG", "15", "TERMX", "SIGSIGTERM", "\x00"} {
		_, ok := ParseSignal(bad)
		assert.False(t, ok, bad)
	}
	_, ok := SignalByNumber(0)
	assert.False(t, ok)
	assert.Zero(t, Signal("NONE").Number())
	assert.True(t, Signal("NONE").harmless())
}
