package compute

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// Check carries out a probe once: nil where it passes. The probe's timeout
// bounds it. A way that the provider has not is errors.ErrUnsupported.
func Check(ctx context.Context, inst Instance, probe Probe, ports []network.Port) error {
	p := prober{inst: inst, probe: probe, ports: ports}
	return p.once(ctx)
}

type prober struct {
	inst   Instance
	probe  Probe
	ports  []network.Port
	passed atomic.Bool
}

const (
	defaultProbeTimeout  = time.Second
	defaultProbeInterval = 10 * time.Second
	// firstProbes follow each other fast while somebody waits for the first
	// success: the usual interval is meant for what already runs.
	firstProbes = 100 * time.Millisecond
)

func (p *prober) interval() time.Duration {
	interval := p.probe.Interval
	if interval == 0 {
		interval = defaultProbeInterval
	}
	return min(interval, firstProbes)
}

func (p *prober) once(ctx context.Context) error {
	timeout := p.probe.Timeout
	if timeout == 0 {
		timeout = defaultProbeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case len(p.probe.Exec) > 0:
		return runCommand(ctx, p.inst, p.probe.Exec, nil)
	case p.probe.TCP != "":
		conn, err := p.dial(ctx, p.probe.TCP)
		if err != nil {
			return err
		}
		return conn.Close()
	case p.probe.HTTP != nil:
		return p.get(ctx, *p.probe.HTTP)
	}
	return errors.New("the probe checks nothing")
}

func (p *prober) dial(ctx context.Context, port string) (net.Conn, error) {
	found, err := FindPort(p.ports, port)
	if err != nil {
		return nil, err
	}
	return Dial(ctx, p.inst, strconv.Itoa(int(found.Instance)))
}

// get makes one request. The answer is the guest's: little of it is read, and
// no redirect is followed. It does without http.Transport, whose dialling and
// handshake go on, for ever where the guest wills it, when the context is done.
func (p *prober) get(ctx context.Context, probe HTTPProbe) error {
	conn, err := p.dial(ctx, probe.Port)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	response, err := exchange(ctx, conn, probe)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case response.StatusCode < 200 || response.StatusCode >= 400:
		return fmt.Errorf("the probe was answered with %s", resource.Quote(response.Status))
	}
	return nil
}

// exchange sends the request and reads the head of the answer to it.
func exchange(ctx context.Context, conn net.Conn, probe HTTPProbe) (*http.Response, error) {
	scheme := "http"
	if probe.HTTPS {
		scheme = "https"
		// A probe asks whether somebody answers, not who.
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	path := probe.Path
	if path == "" {
		path = "/"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://instance"+path, nil)
	if err != nil {
		return nil, err
	}
	request.Close = true
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	answer := bufio.NewReader(io.LimitReader(conn, 64<<10))
	for {
		response, err := http.ReadResponse(answer, request)
		if err != nil || response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, err
		}
	}
}
