package containerd

import (
	"context"
	"errors"
	"io"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/univirt/univirt/resource"
)

// Containerd sends all of each container that it lists, and most of that is the
// runtime spec, of no use to a list. So lists have messages of their own, with the
// fields that they need and the numbers of containerd's: a decoder passes over
// what a message does not have, at next to no cost.

// shortContainer is containerd's Container message without its runtime spec.
type shortContainer struct {
	ID          string                 `protobuf:"bytes,1,opt,name=id,proto3"`
	Labels      map[string]string      `protobuf:"bytes,2,rep,name=labels,proto3" protobuf_key:"bytes,1,opt,name=key,proto3" protobuf_val:"bytes,2,opt,name=value,proto3"`
	Image       string                 `protobuf:"bytes,3,opt,name=image,proto3"`
	Snapshotter string                 `protobuf:"bytes,6,opt,name=snapshotter,proto3"`
	SnapshotKey string                 `protobuf:"bytes,7,opt,name=snapshot_key,proto3"`
	CreatedAt   *timestamppb.Timestamp `protobuf:"bytes,8,opt,name=created_at,proto3"`
	Extensions  map[string]*anypb.Any  `protobuf:"bytes,10,rep,name=extensions,proto3" protobuf_key:"bytes,1,opt,name=key,proto3" protobuf_val:"bytes,2,opt,name=value,proto3"`
}

// shortListed is containerd's ListContainerMessage.
type shortListed struct {
	Container *shortContainer `protobuf:"bytes,1,opt,name=container,proto3"`
}

// What makes a struct with such tags a message.

func (m *shortContainer) Reset()         { *m = shortContainer{} }
func (m *shortContainer) String() string { return m.ID }
func (*shortContainer) ProtoMessage()    {}

func (m *shortListed) Reset()         { *m = shortListed{} }
func (m *shortListed) String() string { return m.Container.String() }
func (*shortListed) ProtoMessage()    {}

// containers reads the containers that a filter lets through, all where there is
// none, without runtime and runtime spec.
func (p *Provider) containers(ctx context.Context, filters ...string) ([]containers.Container, error) {
	var all []containers.Container
	err := p.eachContainer(ctx, func(c containers.Container) { all = append(all, c) }, filters...)
	return all, err
}

// eachContainer is containers, but hands each over while containerd sends the
// next.
func (p *Provider) eachContainer(ctx context.Context, found func(containers.Container), filters ...string) error {
	conn, ok := p.client.Conn().(grpc.ClientConnInterface)
	if !ok {
		return resource.Errorf(errors.ErrUnsupported, "containerd is not reached by gRPC")
	}
	// A stream that is not read to its end lasts as long as its context.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/containerd.services.containers.v1.Containers/ListStream")
	if err == nil {
		err = stream.SendMsg(&containersapi.ListContainersRequest{Filters: filters})
	}
	if err == nil {
		err = stream.CloseSend()
	}
	for err == nil {
		var m shortListed
		if err = stream.RecvMsg(&m); err == nil && m.Container != nil {
			found(m.Container.container())
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return errgrpc.ToNative(err)
}

func (m *shortContainer) container() containers.Container {
	c := containers.Container{
		ID: m.ID, Labels: m.Labels, Image: m.Image, Snapshotter: m.Snapshotter, SnapshotKey: m.SnapshotKey,
		CreatedAt: m.CreatedAt.AsTime(),
	}
	if len(m.Extensions) > 0 {
		c.Extensions = make(map[string]typeurl.Any, len(m.Extensions))
		for name, value := range m.Extensions {
			c.Extensions[name] = value
		}
	}
	return c
}
