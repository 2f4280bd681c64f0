// Gen builds the helper for every architecture and records what it was built
// from. It runs in the folder of package keeper, by `go generate`.
package main

import (
	"fmt"
	"os"

	"github.com/univirt/univirt/internal/keeper/compile"
)

func main() {
	if err := generate(); err != nil {
		fmt.Fprintln(os.Stderr, "keeper:", err)
		os.Exit(1)
	}
}

func generate() error {
	toolchain, err := compile.Toolchain()
	if err != nil {
		return err
	}
	source, err := compile.Source()
	if err != nil {
		return err
	}
	record := compile.Record{Toolchain: toolchain, Source: source, Binaries: map[string]string{}}
	for _, arch := range compile.Architectures() {
		content, err := compile.Build(arch)
		if err != nil {
			return err
		}
		record.Binaries[arch] = compile.Digest(content)
		if err := os.WriteFile(compile.BinaryFile(arch), content, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(compile.RecordFile, []byte(record.String()), 0o644)
}
