package containerd

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types/task"

	"github.com/univirt/univirt/internal/keeper"
	"github.com/univirt/univirt/internal/logfile"
)

// A run is named before its task is made. Its token travels in the address that
// the task's output goes to, which containerd tells with the task: so any process
// knows the run under way, and no call is needed to write it down. The token
// begins with the time, so that it also tells when the run began, and which of
// two is the later one. That of a run that a supervisor began ends with the number of
// the restart in its row.

// newRun returns a token that has not been used.
func newRun(now time.Time, restarts int) string {
	var unique [4]byte
	_, _ = rand.Read(unique[:])
	run := fmt.Sprintf("%016x-%s", now.UnixNano(), hex.EncodeToString(unique[:]))
	if restarts > 0 {
		run += "-" + strconv.Itoa(restarts)
	}
	return run
}

// runStarted is when a run began; zero for a token of another form.
func runStarted(run string) time.Time {
	digits, _, _ := strings.Cut(run, "-")
	n, err := strconv.ParseInt(digits, 16, 64)
	if err != nil || len(digits) != 16 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// runOf returns the run that a task is; empty for a task that this module did
// not make.
func runOf(t *task.Process) string {
	if t == nil {
		return ""
	}
	u, err := url.Parse(t.Stdout)
	if err != nil {
		return ""
	}
	run := u.Query().Get("run")
	if logfile.CheckRun(run) != nil {
		return ""
	}
	return run
}

// output is the address of the output of a run.
func (p *Provider) output(id, run string, terminal bool) (string, error) {
	return keeper.LogURI(p.state.keeper, keeper.LogOptions{
		Dir: p.state.logs(id), Run: run, MaxSize: p.opts.LogSize, MaxFiles: p.opts.LogFiles, Terminal: terminal,
	})
}

// lastRun returns the latest run of which there are logs; empty where there are
// none. It is how a run is known whose task was lost.
func (p *Provider) lastRun(id string) string {
	runs, err := logfile.Runs(p.state.logs(id))
	if err != nil || len(runs) == 0 {
		return ""
	}
	last := ""
	for _, r := range runs {
		// Tokens are in the order of time.
		last = max(last, r.Token)
	}
	return last
}
