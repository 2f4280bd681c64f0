package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/daemon"
)

func TestParseVersion(t *testing.T) {
	for output, want := range map[string]struct {
		version string
		major   int
	}{
		"containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3\n": {"1.6.20~ds1", 1},
		"containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da":      {"1.7.27", 1},
		"containerd github.com/containerd/containerd/v2 v2.0.5 fb4c30d4":                {"2.0.5", 2},
		"containerd github.com/containerd/containerd/v2 2.4.2+unknown \nwarning: x":     {"2.4.2+unknown", 2},
		"containerd x 12.0": {"12.0", 12},
	} {
		version, major, err := parseVersion(output)
		require.NoError(t, err, output)
		assert.Equal(t, want.version, version)
		assert.Equal(t, want.major, major)
	}
	for _, output := range []string{"", "\n", "containerd", "containerd x", "docker x 1.2.3", "containerd x y", "containerd x -1.2", "containerd x 0.2.9"} {
		_, _, err := parseVersion(output)
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition, output)
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3\n")
	f.Add("containerd x 99999999999999999999.1")
	f.Fuzz(func(t *testing.T, output string) {
		version, major, err := parseVersion(output)
		if err != nil {
			assert.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
			return
		}
		assert.Positive(t, major)
		assert.NotEmpty(t, version)
	})
}

func TestSettings(t *testing.T) {
	l := layout{dir: `/srv/a "b" \c`}
	for major, format := range map[int]string{1: "version = 2\n", 2: "version = 3\n", 3: "version = 3\n"} {
		text := settings(l, major)
		assert.True(t, strings.HasPrefix(text, format), text)
		assert.Contains(t, text, `root = "/srv/a \"b\" \\c/root"`+"\n")
		assert.Contains(t, text, `"io.containerd.grpc.v1.cri"`)
	}
}

func TestFindPrograms(t *testing.T) {
	all := []string{Name, shim, "runc"}
	for name, tt := range map[string]struct {
		have   []string
		binary string
		kind   error
		says   []string
	}{
		"all there":          {have: all},
		"binary given":       {have: all, binary: "containerd"},
		"binary missing":     {have: all, binary: "nope", kind: errdefs.ErrNotFound, says: []string{"Binary", "nope", "apt-get install containerd runc"}},
		"binary is a folder": {have: all, binary: ".", kind: errdefs.ErrNotFound, says: []string{"Binary"}},
		"relative binary":    {have: all, binary: "./containerd", kind: errdefs.ErrInvalidArgument, says: []string{"absolute"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, program := range tt.have {
				require.NoError(t, os.WriteFile(filepath.Join(dir, program), nil, 0o700))
			}
			binary := tt.binary
			if binary != "" && !strings.HasPrefix(binary, "./") {
				binary = filepath.Join(dir, binary)
			}
			found, err := find(binary, "relative:"+dir)
			if tt.kind != nil {
				require.ErrorIs(t, err, tt.kind)
				for _, says := range tt.says {
					assert.ErrorContains(t, err, says)
				}
				return
			}
			require.NoError(t, err)
			assert.Equal(t, filepath.Join(dir, Name), found.containerd)
			assert.True(t, strings.HasPrefix(found.path, dir+":"), found.path)
			assert.NotContains(t, found.path, "relative")
		})
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	dir := t.TempDir()
	for _, program := range []string{Name, shim, "runc"} {
		_, err := daemon.Look(program, []string{dir}, install)
		require.ErrorIs(t, err, errdefs.ErrNotFound)
		assert.ErrorContains(t, err, program+" is not in "+dir)
		assert.ErrorContains(t, err, "apt-get install containerd runc")
		// A file that cannot be executed is none.
		require.NoError(t, os.WriteFile(filepath.Join(dir, program), nil, 0o600))
		_, err = daemon.Look(program, []string{dir}, install)
		require.ErrorIs(t, err, errdefs.ErrNotFound)
	}
}
