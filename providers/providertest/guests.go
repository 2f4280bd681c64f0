package providertest

import (
	"strings"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

func guestCases() []testCase {
	guest := has(compute.FeatureGuest)
	return []testCase{
		{"A guest tells of its system, in lines that can be printed, and nothing is changed", guest, guestTells},
		{"A guest that does not run is FailedPrecondition", guest, guestStopped},
	}
}

func guestTells(e *env) {
	inst := e.reachable()
	before := e.info(inst)
	told, err := compute.Guest(e.ctx, inst)
	require.NoError(e, err)
	require.NotEmpty(e, told.Hostname)
	require.NotEmpty(e, told.Kernel)
	require.NotEmpty(e, told.Architecture)
	for _, text := range []string{told.Hostname, told.OS, told.OSName, told.OSVersion, told.Kernel, told.Architecture} {
		require.LessOrEqual(e, len(text), 256)
		require.False(e, strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }), "%q", text)
	}
	after := e.info(inst)
	require.Equal(e, before.Run, after.Run)
	require.Equal(e, before.State, after.State)
	require.Equal(e, before.Revision, after.Revision)
}

func guestStopped(e *env) {
	e.idle = true
	inst := e.stopped("web")
	_, err := compute.Guest(e.ctx, inst)
	e.fails(err, errdefs.ErrFailedPrecondition)
	e.start(inst)
	e.kill(inst)
	_, err = compute.Guest(e.ctx, inst)
	e.fails(err, errdefs.ErrFailedPrecondition)
}
