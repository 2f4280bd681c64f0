// Instance is what the test with a real containerd runs in a container.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// main writes 1000 lines to each output, waits for SIGTERM, writes as many again
// and ends within a line.
func main() {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	write(0)
	<-terminated
	write(1000)
	fmt.Fprint(os.Stdout, "last out")
	fmt.Fprint(os.Stderr, "last err")
}

func write(from int) {
	for i := from; i < from+1000; i++ {
		fmt.Fprintln(os.Stdout, "out", i)
		fmt.Fprintln(os.Stderr, "err", i)
	}
}
