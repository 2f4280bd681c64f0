package policy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheCodeOfTheReadmeCompiles compiles each block of Go code.
func TestTheCodeOfTheReadmeCompiles(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllSubmatch(readme, -1)
	require.Len(t, blocks, 2)
	for _, block := range blocks {
		code := string(block[1])
		files := map[string]string{"main.go": code}
		if !strings.HasPrefix(code, "package ") {
			// It is a test of the reader's own function.
			files = map[string]string{"deploy_test.go": "package deploy\n\n" + code, "deploy.go": deploy}
		}
		// Below testdata no other build takes notice of it, and it is in the module.
		dir, err := os.MkdirTemp("testdata", "readme")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
		for name, text := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		out, err := exec.Command("go", "vet", "./"+dir).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

const deploy = `package deploy

import (
	"context"

	"github.com/univirt/univirt"
)

func Deploy(context.Context, univirt.Provider) error { return nil }
`
