package kvm

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/keeper"
)

var background = context.Background()

func TestProbe(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	began := time.Now()
	r, err := Probe(background, opts)
	require.NoError(t, err)
	if _, err := os.Stat(device); err != nil {
		assert.Equal(t, Result{Reason: "there is no /dev/kvm"}, r)
		return
	}
	t.Logf("%+v in %s", r, time.Since(began))
	assert.True(t, r.Present)
	assert.NotEmpty(t, r.Reason)
	assert.Less(t, time.Since(began), patience+2*time.Second)
	assert.Equal(t, r.Loop > 0 && r.Loop <= limit, r.Usable)

	// What is known is not found out again: the helper would have to run for that.
	file := filepath.Join(opts.Dir, "kvm.json")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	known := strings.Replace(string(data), r.Reason, "as I said", 1)
	require.NoError(t, os.WriteFile(file, []byte(known), 0o600))
	again, err := Probe(background, opts)
	require.NoError(t, err)
	assert.Equal(t, "as I said", again.Reason)

	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	again, err = Probe(background, opts)
	require.NoError(t, err)
	assert.Equal(t, r.Usable, again.Usable)
	assert.NotEqual(t, "as I said", again.Reason)
}

// The helper itself, since on a host without KVM there is a weightier reason.
func TestHelperAsksAsAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: takes the rights of another user")
	}
	helper, err := keeper.Install(t.TempDir())
	require.NoError(t, err)
	who, err := look("nobody")
	require.NoError(t, err)
	output, err := ask(background, keeper.KVMCommand(helper, who.options()), patience)
	require.NoError(t, err)
	got, want := parse(output), finding{open: granted, user: "permission denied"}
	switch info, err := os.Stat(device); {
	case err != nil:
		want = finding{open: "no such file or directory"}
	case info.Mode().Perm()&0o006 == 0o006:
		want.user = granted
	}
	assert.Equal(t, want.open, got.open)
	assert.Equal(t, want.user, got.user)
}

func TestProbesAtOnce(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r, err := Probe(background, opts)
			assert.NoError(t, err)
			assert.NotEmpty(t, r.Reason)
		})
	}
	wg.Wait()
	left, err := filepath.Glob(filepath.Join(opts.Dir, ".kvm-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestNoDevice(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "kvm")
	r, err := probe(background, Options{Dir: t.TempDir()}, missing)
	require.NoError(t, err)
	assert.Equal(t, Result{Reason: "there is no " + missing}, r)
}

func TestProbeRefuses(t *testing.T) {
	done, cancel := context.WithCancel(background)
	cancel()
	open := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o777))
	for name, tt := range map[string]struct {
		ctx  context.Context
		opts Options
		kind error
	}{
		"done":          {done, Options{Dir: t.TempDir()}, context.Canceled},
		"relative":      {background, Options{Dir: "x"}, errdefs.ErrInvalidArgument},
		"no dir":        {background, Options{}, errdefs.ErrInvalidArgument},
		"open to all":   {background, Options{Dir: open}, keeper.ErrUntrusted},
		"user is not":   {background, Options{Dir: t.TempDir(), User: "nobody-at-all"}, errdefs.ErrNotFound},
		"user is a uid": {background, Options{Dir: t.TempDir(), User: "0 uid 0"}, errdefs.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Probe(tt.ctx, tt.opts)
			require.ErrorIs(t, err, tt.kind)
		})
	}
}

// A helper that hangs is killed, and what it said before counts.
func TestAskHasPatience(t *testing.T) {
	hang := []string{"/bin/sh", "-c", "echo open ok; exec sleep 1000"}
	began := time.Now()
	output, err := ask(background, hang, 200*time.Millisecond)
	require.NoError(t, err)
	assert.Equal(t, "open ok\n", output)
	assert.Less(t, time.Since(began), 3*time.Second)

	ctx, cancel := context.WithTimeout(background, 100*time.Millisecond)
	defer cancel()
	_, err = ask(ctx, hang, time.Hour)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	_, err = ask(background, []string{"/bin/sh", "-c", "echo because >&2; exit 1"}, time.Minute)
	assert.ErrorContains(t, err, "exit status 1: because")
}

func TestCache(t *testing.T) {
	now := time.Now()
	good, bad := Result{Usable: true, Present: true, Loop: 1, Reason: "a"}, Result{Present: true, Reason: "b"}
	for name, tt := range map[string]struct {
		result Result
		key    string
		age    time.Duration
		want   bool
	}{
		"known":                 {good, "k", time.Hour, true},
		"of something else":     {good, "l", 0, false},
		"of nothing":            {good, "", 0, false},
		"bad and fresh":         {bad, "k", doubt - 1, true},
		"bad and old":           {bad, "k", doubt, false},
		"bad and of the future": {bad, "k", -1, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := cache{path: filepath.Join(t.TempDir(), "kvm.json"), key: "k"}
			require.NoError(t, c.put(tt.result, now))
			c.key = tt.key
			got, ok := c.get(now.Add(tt.age))
			assert.Equal(t, tt.want, ok)
			if ok {
				assert.Equal(t, tt.result, got)
			}
		})
	}
	c := cache{path: filepath.Join(t.TempDir(), "gone", "kvm.json"), key: "k"}
	assert.Error(t, c.put(good, now))
	_, ok := c.get(now)
	assert.False(t, ok)
}

func TestKeyTellsWhatMatters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kvm")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	key := func(helper string, who credentials) string {
		info, err := os.Stat(file)
		require.NoError(t, err)
		return keyOf(info, helper, who)
	}
	first := key("/a/keeper-1", credentials{})
	assert.Equal(t, first, key("/b/keeper-1", credentials{}))
	assert.NotEqual(t, first, key("/a/keeper-2", credentials{}))
	assert.NotEqual(t, first, key("/a/keeper-1", credentials{uid: "1", gid: "1", groups: []string{"2"}}))
	require.NoError(t, os.Chmod(file, 0o660))
	assert.NotEqual(t, first, key("/a/keeper-1", credentials{}))
}
