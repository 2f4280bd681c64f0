package containerd

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// calls counts and bounds the calls to containerd.
type calls struct {
	timeout time.Duration

	mu     sync.Mutex
	counts map[string]int
}

func (c *calls) count(method string) {
	// "/containerd.services.tasks.v1.Tasks/Create" is "Tasks/Create".
	method = method[strings.LastIndexByte(method[:strings.LastIndexByte(method, '/')], '.')+1:]
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[string]int)
	}
	c.counts[method]++
}

// patient are the calls that wait for something to happen, or take as long as the
// work does.
var patient = map[string]bool{
	"/containerd.services.tasks.v1.Tasks/Wait":     true,
	"/containerd.services.diff.v1.Diff/Apply":      true,
	"/containerd.services.diff.v1.Diff/Diff":       true,
	"/containerd.services.images.v1.Images/Delete": true,
	"/containerd.services.leases.v1.Leases/Delete": true,
}

func (c *calls) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	c.count(method)
	if changing[method] && !outlive.Ask(ctx) {
		return status.FromContextError(outlive.Asked(ctx).Err()).Err()
	}
	if c.timeout == 0 || patient[method] {
		return invoke(ctx, method, request, reply, conn, opts...)
	}
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := invoke(bounded, method, request, reply, conn, opts...)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		// A gRPC error, because the client takes every other one for unknown.
		return status.Errorf(codes.Unavailable, "containerd gave no answer to %s within %s", method, c.timeout)
	}
	return err
}

func (c *calls) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c.count(method)
	return open(ctx, desc, conn, method, opts...)
}

// Calls returns how many calls of each method, such as "Tasks/Create", the
// provider has made to containerd since it was opened. It is false for another
// provider. It is not portable.
func Calls(p univirt.Provider) (map[string]int, bool) {
	own, ok := resource.As[*Provider](p)
	if !ok {
		return nil, false
	}
	c := own.conn.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts), true
}
