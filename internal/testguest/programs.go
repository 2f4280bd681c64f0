//go:build linux

package testguest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// module is the import path of this module.
const module = "github.com/univirt/univirt/"

// programs are what the guests run of our own, as static executables.
type programs struct{ init, seed, guest []byte }

// compile compiles the programs. The go command keeps what it has linked, and the
// same sources and Go release give the same bytes.
func compile(ctx context.Context) (p programs, err error) {
	dir, err := os.MkdirTemp("", "testguest")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(dir)
	for _, one := range []struct {
		path string
		to   *[]byte
	}{
		{"internal/testguest/init", &p.init},
		{"internal/testguest/seed", &p.seed},
		{"providers/providertest/guest/cmd/guest", &p.guest},
	} {
		file := filepath.Join(dir, filepath.Base(one.path))
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags=-s -w -buildid=", "-o", file, module+one.path)
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOAMD64=v1", "GOEXPERIMENT=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return p, fmt.Errorf("compile %s: %w: %s", one.path, err, bytes.TrimSpace(out))
		}
		if *one.to, err = os.ReadFile(file); err != nil {
			return p, err
		}
	}
	return p, nil
}
