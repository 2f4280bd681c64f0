//go:build linux

// Command testguest makes the virtual machines that tests boot, or finds them in
// the cache, and prints the folder that they lie in.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/univirt/univirt/internal/testguest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	g, err := testguest.Build(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testguest:", err)
		os.Exit(1)
	}
	fmt.Println(g.Folder)
}
