package hostnet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/resource"
)

// order is what a test wants of another process, which has the host's namespace as
// file 3 and an instance's as file 4.
type order struct {
	Dir  string
	What string
	// Kill is the step at which the process is killed, 0 for none.
	Kill     int
	Network  NetworkSpec
	Endpoint EndpointSpec
	// Count is how many endpoints are reserved by "many".
	Count int
}

const orderVariable = "UNIVIRT_HOSTNET_ORDER"

func TestMain(m *testing.M) {
	if text := os.Getenv(orderVariable); text != "" {
		if err := obey(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// obey carries out an order.
func obey(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	h, err := Open(o.Dir, Options{Namespace: os.NewFile(3, "host")})
	if err != nil {
		return err
	}
	step := 0
	h.step = func(string) {
		if step++; step == o.Kill {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	if o.What == "many" {
		return many(h, o)
	}
	return carryOut(context.Background(), h, o.What, o, Target{Namespace: os.NewFile(4, "instance"), Interface: "eth0"})
}

func carryOut(ctx context.Context, h *Host, what string, o order, t Target) (err error) {
	switch what {
	case "create":
		_, err = h.Create(ctx, o.Network)
	case "delete":
		err = h.Delete(ctx, o.Network.ID)
	case "reserve":
		_, err = h.Reserve(ctx, o.Network.ID, o.Endpoint)
	case "release":
		err = h.Release(ctx, o.Network.ID, o.Endpoint.ID)
	case "attach":
		err = h.Attach(ctx, o.Network.ID, o.Endpoint.ID, t)
	}
	return err
}

// many reserves endpoints and prints what they have, once its input has ended: so that
// all of several processes are there.
func many(h *Host, o order) error {
	fmt.Println("ready")
	_, _ = io.ReadAll(os.Stdin)
	for range o.Count {
		e, err := h.Reserve(context.Background(), o.Network.ID, EndpointSpec{ID: resource.NewID()})
		if err != nil {
			return err
		}
		fmt.Println(e.MAC)
		for _, a := range e.Addresses {
			fmt.Println(a)
		}
	}
	return nil
}

// command makes the process for an order.
func (w *world) command(o order, instance *os.File) *exec.Cmd {
	o.Dir = w.dir
	text, err := json.Marshal(o)
	require.NoError(w.t, err)
	cmd := exec.Command(os.Args[0])
	// The race detector would sleep for a second before the process ends.
	cmd.Env = append(os.Environ(), orderVariable+"="+string(text), "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = []*os.File{w.namespace}
	if instance != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, instance)
	}
	return cmd
}

// killed carries out an order in another process and reports whether that was killed
// before the end.
func (w *world) killed(o order, instance *os.File) bool {
	w.t.Helper()
	cmd := w.command(o, instance)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	if status, ok := cmd.ProcessState.Sys().(interface{ Signaled() bool }); ok && status.Signaled() {
		return true
	}
	require.NoError(w.t, err, stderr.String())
	return false
}
