package policy

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// portable are the packages that are built without cgo, on any system, and link
// no SDK.
func portable() []string {
	out := []string{"./providers/fake"}
	for _, dir := range core {
		out = append(out, "./"+dir)
	}
	return out
}

func TestTheCoreAndTheFakeLinkNoSDK(t *testing.T) {
	s := load(t)
	for _, system := range []string{"linux", "darwin", "windows"} {
		command := exec.Command("go", append([]string{"list", "-deps"}, portable()...)...)
		command.Dir = root
		command.Env = append(command.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOOS="+system)
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%s", out)
		listed := strings.Fields(string(out))
		require.Greater(t, len(listed), 50)
		for _, path := range listed {
			if _, inside := s.inModule(path); !inside && isForeign(path) {
				// What the standard library has of others is its own.
				assert.True(t, matches(coreForeign, path), "%s is linked on %s", path, system)
			}
			assert.NotEqual(t, "runtime/cgo", path)
		}
		assert.True(t, slices.Contains(listed, coreForeign[0]))
	}
}

func TestTheCoreAndTheFakeBuildWithoutCgo(t *testing.T) {
	command := exec.Command("go", append([]string{"build"}, portable()...)...)
	command.Dir = root
	command.Env = append(command.Environ(), "CGO_ENABLED=0")
	out, err := command.CombinedOutput()
	assert.NoError(t, err, "%s", out)
}
