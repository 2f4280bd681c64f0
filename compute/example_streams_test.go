package compute_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
)

// greeter reads a name and greets it.
func greeter(_ context.Context, p *fake.Process) int {
	name, _ := bufio.NewReader(p.Stdin).ReadString('\n')
	fmt.Fprintf(p.Stdout, "hello, %s\n", strings.TrimSpace(name))
	return 0
}

// answerer says one line to whoever connects to its port 7000.
func answerer(_ context.Context, p *fake.Process) int {
	listener, err := p.Listen("tcp", ":7000")
	if err != nil {
		return 1
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return 0
		}
		fmt.Fprintln(conn, "hello from inside")
		_ = conn.Close()
	}
}

// Input has to be asked for in the spec.
func ExampleAttach() {
	ctx := context.Background()
	p := fake.New(fake.Options{Programs: map[string]fake.Program{"greeter": greeter}})
	defer p.Close()
	inst, err := p.Instances().Create(ctx, compute.Spec{Name: "job", Image: "greeter", Process: compute.Process{Stdin: true}})
	if err != nil {
		log.Fatal(err)
	}
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		log.Fatal(err)
	}
	attachment, err := compute.Attach(ctx, inst, compute.AttachOptions{
		Stdin:  strings.NewReader("world\n"),
		Stdout: os.Stdout,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer attachment.Close()
	fmt.Println(attachment.Wait(ctx))
	// Output:
	// hello, world
	// <nil>
}

func ExampleConsole() {
	ctx := context.Background()
	p := fake.New(fake.Options{Programs: map[string]fake.Program{"greeter": greeter}})
	defer p.Close()
	inst, err := p.Instances().Create(ctx, compute.Spec{
		Name: "vm", Kind: compute.VM, Image: "greeter", Process: compute.Process{Stdin: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		log.Fatal(err)
	}
	console, err := compute.Console(ctx, inst, compute.ConsoleOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer console.Close()
	fmt.Fprintln(console, "world")
	line, err := bufio.NewReader(console).ReadString('\n')
	fmt.Print(line, err, "\n")
	// Output:
	// hello, world
	// <nil>
}

// The port is not published: nothing on the host is opened to others.
func ExampleDial() {
	ctx := context.Background()
	p := fake.New(fake.Options{Programs: map[string]fake.Program{"answerer": answerer}})
	defer p.Close()
	inst, err := p.Instances().Create(ctx, compute.Spec{
		Name:      "web",
		Image:     "answerer",
		Ports:     []network.Port{{Name: "hello", Instance: 7000}},
		Readiness: &compute.Probe{TCP: "hello", Interval: 10 * time.Millisecond},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		log.Fatal(err)
	}
	if _, err := compute.WaitFor(ctx, inst, compute.LevelHealthy); err != nil {
		log.Fatal(err)
	}
	conn, err := compute.Dial(ctx, inst, "hello")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	fmt.Printf("%s%v\n", text, err)
	// Output:
	// hello from inside
	// <nil>
}

func ExampleCheck() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "web", Image: "nginx"})
	defer p.Close()
	fmt.Println(compute.Check(ctx, inst, compute.Probe{Exec: []string{"true"}}, nil))
	fmt.Println(compute.Check(ctx, inst, compute.Probe{Exec: []string{"false"}}, nil) != nil)
	// Output:
	// <nil>
	// true
}

func ExampleCopyLogs() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "job", Image: "busybox", Process: compute.Process{Command: []string{"echo", "one line"}}})
	defer p.Close()
	err := compute.CopyLogs(ctx, inst, compute.LogOptions{Follow: true}, os.Stdout, os.Stderr)
	fmt.Println(err)
	// Output:
	// one line
	// <nil>
}

func ExampleLastLines() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "job", Image: "busybox", Process: compute.Process{Command: []string{"echo", "one\ntwo\nthree"}}})
	defer p.Close()
	exit, err := inst.Wait(ctx, compute.WaitOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(compute.LastLines(ctx, inst, exit.Run, 2))
	// Output: [two three]
}
