package compute

import (
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
		_, err := Output(ctx, p.inst, p.probe.Exec...)
		return err
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
// no redirect is followed.
func (p *prober) get(ctx context.Context, probe HTTPProbe) error {
	transport := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx, probe.Port) },
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true}, // a probe asks whether it answers, not who
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	defer transport.CloseIdleConnections()
	scheme, path := "http", probe.Path
	if probe.HTTPS {
		scheme = "https"
	}
	if path == "" {
		path = "/"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://instance"+path, nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
	_ = response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("the probe was answered with %s", response.Status)
	}
	return nil
}
