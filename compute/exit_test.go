package compute_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/compute"
)

func TestExitSaysHowTheRunEnded(t *testing.T) {
	for want, exit := range map[string]compute.Exit{
		"exit code not known":    {Code: 1, Signal: "SIGKILL"},
		"exit code 0":            {Known: true},
		"exit code 3":            {Known: true, Code: 3},
		"SIGTERM":                {Known: true, Code: 143, Signal: "SIGTERM"},
		"SIGKILL, out of memory": {Known: true, Code: 137, Signal: "SIGKILL", OOM: true},
	} {
		assert.Equal(t, want, exit.String())
	}
}
