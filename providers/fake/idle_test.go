package fake

import (
	"fmt"
	"os"
	"reflect"
	"testing"
)

// TestMain fails where any test of the package has written to what all idle runs
// share.
func TestMain(m *testing.M) {
	code := m.Run()
	if !reflect.DeepEqual(*idle, activity{pids: 1}) {
		fmt.Fprintf(os.Stderr, "somebody wrote to the activity of idle runs: %+v\n", *idle)
		code = 1
	}
	os.Exit(code)
}
