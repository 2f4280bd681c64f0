package containerd

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/univirt/univirt/providers/providertest"
)

// line is the connection of a provider value to its containerd, which can break.
type line struct{ providertest.Line }

// errLost is what gRPC says of a daemon that is gone.
var errLost = status.Error(codes.Unavailable, "error reading from server: EOF")

func (l *line) options() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(l.unary), grpc.WithChainStreamInterceptor(l.stream)}
}

func (l *line) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) (err error) {
	if severed := l.Do(ctx, func() { err = invoke(ctx, method, request, reply, conn, opts...) }); severed != nil {
		return told(severed)
	}
	return err
}

func (l *line) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if severed := l.Do(ctx, func() {}); severed != nil {
		return nil, told(severed)
	}
	return open(ctx, desc, conn, method, opts...)
}

// told is what gRPC says of a call without an answer.
func told(severed error) error {
	if errors.Is(severed, providertest.ErrLost) {
		return errLost
	}
	return status.FromContextError(severed).Err()
}
