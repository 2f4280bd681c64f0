package guest_test

import (
	"context"
	"fmt"
	"os"

	"github.com/univirt/univirt/providers/providertest/guest"
)

// A provider without processes runs the programs as functions.
func ExampleMain() {
	code := guest.Main(context.Background(), guest.Env{
		Args:    []string{"/bin/guest", "env", "GREETING"},
		Environ: []string{"GREETING=hello"},
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
	})
	fmt.Println("exit code", code)
	// Output:
	// hello
	// exit code 0
}
