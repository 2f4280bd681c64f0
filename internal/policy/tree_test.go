package policy

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// empty are names of rooms that say nothing of what is in them.
var empty = []string{"util", "utils", "common", "helper", "helpers", "types", "base", "misc"}

var (
	// sleeps finds sleeps without a reason behind them. In a bubble of synctest
	// they are virtual.
	sleeps  = regexp.MustCompile(`(?m)\btime\.Sleep\(.*[^.]$`)
	matched = regexp.MustCompile(`strings\.(Contains|HasPrefix|HasSuffix)\([a-zA-Z.]*[eE]rr\.Error\(\)`)
)

// TestFiles holds what can be said of single files: none is longer than 700
// lines, none has a name that says nothing, no test sleeps to synchronise, and no
// error is told by its text but in an errors file.
func TestFiles(t *testing.T) {
	count := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return filepath.SkipDir
			}
			assert.NotContains(t, empty, name, path)
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		count++
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		text := read(t, rel)
		assert.LessOrEqual(t, strings.Count(text, "\n"), 700, "%s: lines", rel)
		stem := strings.TrimSuffix(strings.TrimSuffix(name, ".go"), "_test")
		assert.False(t, slices.Contains(empty, stem), rel)
		if strings.HasPrefix(rel, filepath.Join("internal", "policy")) {
			return nil
		}
		if strings.HasSuffix(name, "_test.go") {
			if !strings.Contains(text, `"testing/synctest"`) {
				assert.Empty(t, sleeps.FindAllString(text, -1), "%s sleeps: wait for the event, or say behind it what time is needed for", rel)
			}
		} else if !strings.HasSuffix(stem, "errors") {
			assert.False(t, matched.MatchString(text), "%s tells errors by their text", rel)
		}
		return nil
	})
	require.NoError(t, err)
	assert.Greater(t, count, 50, "files found")
}
