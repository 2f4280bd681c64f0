package containerd

import (
	"context"
	"testing"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/univirt/univirt/compute"
)

// lostAnswer has containerd answer a wait as it does where the shim goes in
// between: seen on 1.6.20.
type lostAnswer struct {
	tasksapi.TasksClient
	before func()
}

func (l lostAnswer) Wait(ctx context.Context, in *tasksapi.WaitRequest, opts ...grpc.CallOption) (*tasksapi.WaitResponse, error) {
	if _, err := l.TasksClient.Wait(ctx, in, opts...); err != nil {
		return nil, err
	}
	l.before()
	return nil, status.Error(codes.Unknown, "ttrpc: closed: unknown")
}

// TestWaitWhoseShimGoes: the exit is known all the same, be it from the task or
// from the record of whoever reaped it.
func TestWaitWhoseShimGoes(t *testing.T) {
	for name, reaped := range map[string]bool{"task": false, "record": true} {
		t.Run(name, func(t *testing.T) {
			p := openGuest(t, Options{})
			inst := start(t, p, guestSpec("a", "exit", "7"))
			lost := lostAnswer{TasksClient: p.client.TaskService(), before: func() {
				if reaped {
					over, err := p.collect(p.dress(t.Context()), inst.ID(), "")
					assert.NoError(t, err)
					assert.True(t, over)
				}
			}}
			losing, err := client.New(p.conn.address, client.WithServices(client.WithTaskClient(lost)))
			require.NoError(t, err)
			whole := p.client
			p.client = losing
			t.Cleanup(func() { p.client = whole; assert.NoError(t, losing.Close()) })
			exit, err := inst.Wait(t.Context(), compute.WaitOptions{})
			require.NoError(t, err)
			assert.True(t, exit.Known)
			assert.Equal(t, 7, exit.Code)
		})
	}
}
