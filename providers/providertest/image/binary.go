package testimage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// guestCommand is the import path of the program in the image.
const guestCommand = "github.com/univirt/univirt/providers/providertest/guest/cmd/guest"

// binaries holds what this process has compiled, by architecture. The go command
// keeps what it has compiled and linked across processes and knows best when it
// is out of date, so that no file of our own outlives the call.
var binaries struct {
	sync.Mutex
	byArch map[string][]byte
}

// Binary returns the guest program as a static Linux executable for an
// architecture in Go's terms, "amd64" or "arm64". The same sources and Go
// release give the same bytes. It must not be modified.
func Binary(ctx context.Context, arch string) ([]byte, error) {
	binaries.Lock()
	defer binaries.Unlock()
	if binary, ok := binaries.byArch[arch]; ok {
		return binary, nil
	}
	dir, err := os.MkdirTemp("", "testimage")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -buildid=", "-o", out, guestCommand)
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0",
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the guest program: %w: %s", err, bytes.TrimSpace(output))
	}
	binary, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	if binaries.byArch == nil {
		binaries.byArch = map[string][]byte{}
	}
	binaries.byArch[arch] = binary
	return binary, nil
}

// guestArchitecture returns the architecture to compile for.
func guestArchitecture(p v1.Platform) string {
	if p.OS == "linux" && (p.Architecture == "amd64" || p.Architecture == "arm64") {
		return p.Architecture
	}
	return runtime.GOARCH
}
