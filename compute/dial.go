package compute

import (
	"context"
	"net"

	"github.com/univirt/univirt/network"
)

// Dialer is an instance whose ports can be reached without a port on the host.
type Dialer interface {
	Instance
	// Dial connects to a port inside the running instance. The context bounds
	// dialling, not the connection. Nothing listening is Unavailable.
	Dial(ctx context.Context, protocol network.Protocol, port uint16) (net.Conn, error)
}

// Dial connects to a port inside an instance, given by its name in the spec or
// by its number; errors.ErrUnsupported where the provider cannot.
func Dial(ctx context.Context, inst Instance, port string) (net.Conn, error) {
	d, err := extension[Dialer](inst, OpDial)
	if err != nil {
		return nil, err
	}
	p, err := FindPort(nil, port)
	if err != nil {
		info, infoErr := inst.Info(ctx)
		if infoErr != nil {
			return nil, infoErr
		}
		var ports []network.Port
		if info.Spec != nil {
			ports = info.Spec.Ports
		}
		if p, err = FindPort(ports, port); err != nil {
			return nil, fail(OpDial, info.Ref, err)
		}
	}
	if p.Protocol == "" {
		p.Protocol = network.TCP
	}
	return d.Dial(ctx, p.Protocol, p.Instance)
}
