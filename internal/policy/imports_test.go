package policy

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ranks orders the layers: a package may import what stands before it.
var ranks = []struct {
	dir  string
	rank int
}{
	{"resource", 1},
	{"storage", 2},
	{"network", 2},
	{"compute", 3},
	{".", 4},
	{"providers/providertest", 5},
	{"providers", 5},
	{"examples", 6},
	{"internal/demo", 6},
	{"internal/policy", 6},
	{"internal", 0},
}

func rankOf(dir string) int {
	for _, r := range ranks {
		if dir == r.dir || r.dir != "." && strings.HasPrefix(dir, r.dir+"/") {
			return r.rank
		}
	}
	return -1
}

// provider returns the provider that a folder belongs to, or "".
func provider(dir string) string {
	name, ok := strings.CutPrefix(dir, "providers/")
	if !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, "/")
	return name
}

func TestImportsFollowTheLayers(t *testing.T) {
	for _, s := range sources(t) {
		rank := rankOf(s.dir)
		require.GreaterOrEqual(t, rank, 0, "%s has no place among the layers", s.dir)
		for _, path := range s.imports {
			own, inModule := strings.CutPrefix(path, module)
			if !inModule {
				if core := rank >= 1 && rank <= 4; core && strings.Contains(strings.Split(path, "/")[0], ".") {
					assert.Equal(t, "github.com/containerd/errdefs", path,
						"%s: the core imports the standard library and errdefs only", s.dir)
				}
				continue
			}
			own = strings.TrimPrefix(own, "/")
			if own == "" {
				own = "."
			}
			from, to := provider(s.dir), provider(own)
			switch {
			case rank == rankOf(own) && from != "" && (from == to || from == "providertest"):
				// Within one provider; and the suite's adapter knows the fake.
			case rank == 0 && rankOf(own) == 0, rank == 6 && rankOf(own) <= 5:
			case rank == 5 && rankOf(own) == 0:
			default:
				assert.Less(t, rankOf(own), rank, "%s imports %s", s.dir, own)
				if rank >= 1 && rank <= 4 {
					assert.NotZero(t, rankOf(own), "%s imports %s: the core needs nothing internal", s.dir, own)
				}
			}
		}
	}
}

// TestTheFakeLinksNoSDK holds that a program which imports the core and the fake
// links no backend.
func TestTheFakeLinksNoSDK(t *testing.T) {
	command := exec.Command("go", "list", "-deps", "./providers/fake", ".")
	command.Dir = root
	command.Env = append(command.Environ(), "CGO_ENABLED=0")
	out, err := command.Output()
	require.NoError(t, err)
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		first, _, _ := strings.Cut(path, "/")
		if strings.Contains(first, ".") && !strings.HasPrefix(path, module) {
			assert.Contains(t, []string{"github.com/containerd/errdefs"}, path, "linked by the fake or the core")
		}
	}
}
