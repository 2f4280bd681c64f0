package containerd

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// line is the connection of a provider value to its containerd, which can break.
type line struct {
	mu sync.Mutex
	// calls counts those since the line was cut, and at is the first that fails.
	calls, at  int
	cut, taken bool
	failed     bool
}

// sever cuts the line at the n-th call from now on, see providertest.Harness.
func (l *line) sever(n int, taken bool) (mend func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.calls, l.at, l.taken, l.failed = true, 0, n, taken, false
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.cut = false
		return l.failed
	}
}

// errLost is what gRPC says of a daemon that is gone.
var errLost = status.Error(codes.Unavailable, "error reading from server: EOF")

// next counts a call, and says whether it is made and whether it is answered.
func (l *line) next() (made, answered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut || l.calls < l.at {
		l.calls++
		return true, true
	}
	made = l.calls == l.at && l.taken
	l.calls++
	l.failed = true
	return made, false
}

func (l *line) options() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(l.unary), grpc.WithChainStreamInterceptor(l.stream)}
}

func (l *line) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	made, answered := l.next()
	if made {
		if err := invoke(ctx, method, request, reply, conn, opts...); answered {
			return err
		}
	}
	return errLost
}

func (l *line) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if _, answered := l.next(); !answered {
		return nil, errLost
	}
	return open(ctx, desc, conn, method, opts...)
}
