package compute_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]int{
		"SIGHUP": 1, "HUP": 1, "1": 1, "SIGINT": 2, "SIGKILL": 9, "KILL": 9, "9": 9, "SIGTERM": 15, "TERM": 15, "15": 15, "015": 15,
		"SIGSTKFLT": 16, "SIGWINCH": 28, "SIGIO": 29, "SIGPOLL": 29, "SIGIOT": 6, "SIGABRT": 6, "CLD": 17, "SIGSYS": 31, "SIGUNUSED": 31,
		"SIGRTMIN": 34, "RTMIN": 34, "SIGRTMIN+0": 34, "SIGRTMIN+3": 37, "RTMIN+30": 64, "34": 34, "64": 64,
		"SIGRTMAX": 64, "RTMAX-0": 64, "SIGRTMAX-14": 50, "RTMAX-30": 34,
	} {
		got, err := compute.ParseSignal(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "SIG", "SIGSIGTERM", "sigterm", "term", "SIGNOPE", "0", "-1", "+1", "32", "33", "65", "256", "99999999999999999999", "SIG9",
		"SIG15", "SIGTERM ", " SIGTERM", "SIGTERM\n", "SIGTERM\x00", "1.5", "0x9", "RTMIN+", "RTMIN+31", "RTMIN-1", "RTMIN3", "RTMIN+-1",
		"RTMIN++1", "RTMAX+1", "RTMAX-31", "RTMAX-40", "RTMAX-64", "RTMAX-", "SIGRTMIN+3+3", "١٥", strings.Repeat("A", 1<<20),
	} {
		got, err := compute.ParseSignal(text)
		require.Error(t, err, "%.80q", text)
		assert.Zero(t, got)
		assert.True(t, errdefs.IsInvalidArgument(err))
		assert.Equal(t, resource.Faults{{Field: "signal", Reason: "is no signal: " + resource.Quote(text)}}, err)
	}
}

func TestSignalName(t *testing.T) {
	for number, want := range map[int]string{
		-1: "", 0: "", 1: "SIGHUP", 9: "SIGKILL", 15: "SIGTERM", 31: "SIGSYS", 32: "", 33: "", 34: "SIGRTMIN", 35: "SIGRTMIN+1",
		64: "SIGRTMIN+30", 65: "", 1 << 40: "",
	} {
		assert.Equal(t, want, compute.SignalName(number), "%d", number)
	}
	named := 0
	for number := range 256 {
		name := compute.SignalName(number)
		if name == "" {
			continue
		}
		named++
		got, err := compute.ParseSignal(name)
		require.NoError(t, err)
		assert.Equal(t, number, got)
	}
	assert.Equal(t, 31+31, named)
}

func TestStopSignalOfASpec(t *testing.T) {
	for signal, field := range map[string]string{"": "", "SIGQUIT": "", "3": "", "QUIT ": "stopSignal", "quit": "stopSignal", "\x00": "stopSignal"} {
		check{compute.Spec{StopSignal: signal}, field}.run(t)
	}
}

func TestParseEnv(t *testing.T) {
	env, err := compute.ParseEnv([]string{"A=1", "EMPTY=", "EQ=a=b", "A=2", "NL=a\nb", "with space=1"})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"A": "2", "EMPTY": "", "EQ": "a=b", "NL": "a\nb", "with space": "1"}, env)
	env, err = compute.ParseEnv(nil)
	require.NoError(t, err)
	assert.Empty(t, env)

	env, err = compute.ParseEnv([]string{"A=1", "B", "=C", "", "D=\x00", "\xff=", "E=" + strings.Repeat("a", 128<<10)})
	assert.Nil(t, env)
	assert.Equal(t, resource.Faults{
		{Field: "env[1]", Reason: "must have the form NAME=VALUE"},
		{Field: "env[2]", Reason: "must have a name"},
		{Field: "env[3]", Reason: "must have the form NAME=VALUE"},
		{Field: "env[4]", Reason: "must not contain NUL"},
		{Field: "env[5]", Reason: "must be valid UTF-8"},
		{Field: "env[6]", Reason: "must have at most 131071 bytes"},
	}, err)
}

func FuzzParseSignal(f *testing.F) {
	for _, seed := range []string{"SIGTERM", "TERM", "15", "SIGRTMIN+3", "RTMAX-1", "", "SIG", "RTMIN+", "RTMAX", "0", "33", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		number, err := compute.ParseSignal(text)
		valid := len(compute.StopOptions{Signal: text}.Validate()) == 0
		assert.Equal(t, err == nil || text == "", valid)
		if err != nil {
			assert.True(t, errdefs.IsInvalidArgument(err))
			return
		}
		again, err := compute.ParseSignal(compute.SignalName(number))
		require.NoError(t, err)
		assert.Equal(t, number, again)
	})
}

func FuzzParseEnv(f *testing.F) {
	for _, seed := range []string{"A=1", "A=1\x1fB=2", "=", "", "A", "A==", "\xff=\x00", "A=1\x1fA=2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries := strings.Split(text, "\x1f")
		env, err := compute.ParseEnv(entries)
		if err != nil {
			assert.True(t, errdefs.IsInvalidArgument(err))
			return
		}
		var back []string
		for name, value := range env {
			back = append(back, name+"="+value)
		}
		again, err := compute.ParseEnv(back)
		require.NoError(t, err)
		assert.Equal(t, env, again)
		assert.Empty(t, compute.Process{Env: env}.Validate())
	})
}
