package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// netCommands talk over the network.
var netCommands = map[string]command{
	"listen": {args: "ADDRESS", min: 1, max: 1, run: listen,
		help: `echoes every TCP connection; prints "listening ADDRESS" first`},
	"answer": {args: "ADDRESS", min: 1, max: 1, run: answer,
		help: `sends every datagram of UDP back; prints "answering ADDRESS" first`},
	"dial": {args: "ADDRESS TEXT", min: 2, max: 2, run: dial,
		help: "sends a line to a TCP address and prints the line that comes back"},
	"send": {args: "ADDRESS BYTES", min: 2, max: 2, run: send,
		help: "sends that many bytes to a TCP address and reads as many that come back"},
	"resolve": {args: "NAME", min: 1, max: 1, run: resolve,
		help: "prints the addresses of a name, sorted"},
}

// dialTimeout bounds connecting and the answer together: a case that expects no
// connection should not wait for the kernel's two minutes.
const dialTimeout = 5 * time.Second

func listen(ctx context.Context, p *process, args []string) int {
	if p.env.Listen == nil {
		return p.unsupported()
	}
	l, err := p.env.Listen("tcp", args[0])
	if err != nil {
		return p.fail(err)
	}
	var echoes sync.WaitGroup
	defer echoes.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before waiting for the echoes: it closes their connections
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	if !p.printf("listening %s\n", l.Addr()) {
		return 1
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return p.fail(err)
		}
		echoes.Go(func() { echoBack(ctx, conn) })
	}
}

func answer(ctx context.Context, p *process, args []string) int {
	if p.env.ListenPacket == nil {
		return p.unsupported()
	}
	conn, err := p.env.ListenPacket("udp", args[0])
	if err != nil {
		return p.fail(err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	if !p.printf("answering %s\n", conn.LocalAddr()) {
		return 1
	}
	for buf := make([]byte, 1<<16); ; {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return p.fail(err)
		}
		_, _ = conn.WriteTo(buf[:n], from)
	}
}

func echoBack(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// The copy ends when the other side does, or when the program ends.
	_, _ = io.Copy(conn, conn)
}

func dial(ctx context.Context, p *process, args []string) int {
	if p.env.Dial == nil {
		return p.unsupported()
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := p.env.Dial(ctx, "tcp", args[0])
	if err != nil {
		return p.fail(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintf(conn, "%s\n", args[1]); err != nil {
		return p.fail(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return p.fail(fmt.Errorf("no answer from %s: %w", args[0], err))
	}
	p.printf("%s", line)
	return 0
}

func send(ctx context.Context, p *process, args []string) int {
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil || n < 0 {
		return p.misused("size", args[1])
	}
	if p.env.Dial == nil {
		return p.unsupported()
	}
	conn, err := p.env.Dial(ctx, "tcp", args[0])
	if err != nil {
		return p.fail(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, Flood("stdout", n))
		sent <- err
	}()
	_, err = io.CopyN(io.Discard, conn, n)
	if err != nil {
		// What sends would wait for the other side, which reads no more.
		conn.Close()
	}
	if err := errors.Join(err, <-sent); err != nil {
		return p.fail(err)
	}
	return 0
}

func resolve(ctx context.Context, p *process, args []string) int {
	if p.env.LookupHost == nil {
		return p.unsupported()
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	found, err := p.env.LookupHost(ctx, args[0])
	if err == nil && len(found) == 0 {
		err = errors.New("no addresses")
	}
	if err != nil {
		return p.fail(err)
	}
	slices.Sort(found)
	for _, address := range slices.Compact(found) {
		p.printf("%s\n", address)
	}
	return 0
}
