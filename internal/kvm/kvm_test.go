package kvm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		output string
		want   Result
	}{
		"hardware": {"open ok\nuser ok\nloop 1034567\n",
			Result{Usable: true, Loop: 1034567, Reason: "65,536 turns of a loop in a guest took 1.035ms"}},
		"nobody else asked for": {"open ok\nloop 20000000\n",
			Result{Usable: true, Loop: 20 * time.Millisecond, Reason: "65,536 turns of a loop in a guest took 20ms"}},
		"slow": {"open ok\nuser ok\nloop 126000000\n",
			Result{Loop: 126 * time.Millisecond, Reason: "/dev/kvm opens, but 65,536 turns of a loop in a guest took 126ms, more than 20ms"}},
		"closed": {"open permission denied\n",
			Result{Reason: "/dev/kvm cannot be opened: permission denied"}},
		"closed to QEMU": {"open ok\nuser permission denied\nloop 1000000\n",
			Result{Loop: time.Millisecond, Reason: "the user qemu, as which QEMU runs, may not open /dev/kvm: permission denied"}},
		"slow and closed to QEMU": {"open ok\nuser permission denied\nloop 126000000\n",
			Result{Loop: 126 * time.Millisecond, Reason: "/dev/kvm opens, but 65,536 turns of a loop in a guest took 126ms, more than 20ms"}},
		"does not run": {"open ok\nuser ok\nfail create the VM: invalid argument\n",
			Result{Reason: "/dev/kvm opens, but a guest cannot run: create the VM: invalid argument"}},
		"hangs while it runs": {"open ok\nuser ok\n",
			Result{Reason: "/dev/kvm opens, but 65,536 turns of a loop in a guest did not end within 3s"}},
		"hangs while it opens": {"",
			Result{Reason: "opening /dev/kvm did not end within 3s"}},
		"cut": {"open ok\nloop 10",
			Result{Reason: "/dev/kvm opens, but 65,536 turns of a loop in a guest did not end within 3s"}},
		"nonsense": {"open ok\nloop -5\n",
			Result{Reason: "/dev/kvm opens, but 65,536 turns of a loop in a guest did not end within 3s"}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want.Present = true
			assert.Equal(t, tt.want, parse(tt.output).judge("qemu"))
		})
	}
}

func FuzzJudge(f *testing.F) {
	f.Add("open ok\nuser ok\nloop 1034567\n")
	f.Add("open permission denied\n")
	f.Add("fail x\nloop 1")
	f.Fuzz(func(t *testing.T, output string) {
		r := parse(output).judge("qemu")
		assert.NotEmpty(t, r.Reason)
		assert.GreaterOrEqual(t, r.Loop, time.Duration(0))
		if r.Usable {
			assert.Positive(t, r.Loop)
			assert.LessOrEqual(t, r.Loop, limit)
		}
	})
}
