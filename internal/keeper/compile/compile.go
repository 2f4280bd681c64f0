// Package compile builds the helper that package keeper embeds. It is used by
// the generator and by the test that holds the embedded bytes against their
// source.
package compile

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Package is the import path of the helper's source.
const Package = "github.com/univirt/univirt/internal/keeper/cmd/keeper"

// RecordFile is the file beside the binaries that says what they were built
// from; see [Record.String].
const RecordFile = "keeper.sum"

// Architectures are those for which the helper is embedded.
func Architectures() []string { return []string{"amd64", "arm64"} }

// BinaryFile is the name of the embedded binary for an architecture.
func BinaryFile(arch string) string { return "keeper_linux_" + arch }

// Record says what the binaries were built from and what came out.
type Record struct {
	// Toolchain is the version of Go, such as "go1.26.0".
	Toolchain string
	// Source is a digest over everything that is compiled in.
	Source string
	// Binaries are the digests of the binaries by architecture.
	Binaries map[string]string
}

// String is the content of the record file: a line each, key and value.
func (r Record) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "toolchain %s\nsource %s\n", r.Toolchain, r.Source)
	for _, arch := range Architectures() {
		fmt.Fprintf(&b, "%s %s\n", arch, r.Binaries[arch])
	}
	return b.String()
}

// ParseRecord reads what String wrote.
func ParseRecord(text string) (Record, error) {
	r := Record{Binaries: map[string]string{}}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch {
		case !ok:
			return Record{}, fmt.Errorf("%s: malformed line %q", RecordFile, line)
		case key == "toolchain":
			r.Toolchain = value
		case key == "source":
			r.Source = value
		default:
			r.Binaries[key] = value
		}
	}
	return r, nil
}

// Digest is the form of digest that a record holds.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Toolchain is the version of the go command that would build.
func Toolchain() (string, error) {
	out, err := run("amd64", "env", "GOVERSION")
	return strings.TrimSpace(string(out)), err
}

// Build builds the helper for an architecture, the same bytes wherever it runs.
func Build(arch string) (_ []byte, err error) {
	dir, err := os.MkdirTemp("", "keeper-build-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	out := filepath.Join(dir, "keeper")
	if _, err := run(arch, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", out, Package); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// Source digests every file of this module and the version of every other module
// from which the helper is built.
func Source() (string, error) {
	lines := []string{}
	for _, arch := range Architectures() {
		out, err := run(arch, "list", "-deps", "-json=Dir,ImportPath,Standard,GoFiles,SFiles,Module", Package)
		if err != nil {
			return "", err
		}
		got, err := sourceLines(out)
		if err != nil {
			return "", err
		}
		lines = append(lines, got...)
	}
	slices.Sort(lines)
	return Digest([]byte(strings.Join(slices.Compact(lines), "\n"))), nil
}

func sourceLines(list []byte) ([]string, error) {
	var lines []string
	for decoder := json.NewDecoder(bytes.NewReader(list)); ; {
		var p struct {
			Dir, ImportPath string
			Standard        bool
			GoFiles, SFiles []string
			Module          *struct {
				Path, Version, GoVersion string
				Main                     bool
			}
		}
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return lines, nil
		case err != nil:
			return nil, err
		case p.Standard || p.Module == nil:
			continue
		case !p.Module.Main:
			lines = append(lines, p.Module.Path+" "+p.Module.Version)
			continue
		}
		// The language version of the module sets defaults in the binary.
		lines = append(lines, cmp.Or(p.Module.GoVersion, "-"))
		for _, name := range slices.Concat(p.GoFiles, p.SFiles) {
			content, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			lines = append(lines, path.Join(p.ImportPath, name)+" "+Digest(content))
		}
	}
}

// run runs the go command with an environment in which nothing of the caller's
// changes the result.
func run(arch string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(),
		"GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on",
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off", "GODEBUG=", "GOTOOLCHAIN=local")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", args[0], err, stderr.Bytes())
	}
	return out, nil
}
