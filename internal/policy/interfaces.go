package policy

import (
	"go/ast"
	"slices"
)

// maxMethods is how many methods an interface of the core may have of its own.
const maxMethods = 8

// bases are the interfaces of the core that every provider implements, and the
// small ones that stand for themselves; all others extend one of them.
var bases = map[string][]string{
	"compute": {"Instances", "Instance", "Images", "Execution", "Attachment", "Native"},
	"storage": {"Volumes", "Volume"},
	"network": {"Networks", "Network", "Endpoint"},
	"":        {"Provider"},
}

// Interfaces finds interfaces of the core that are too wide, that extend nothing
// without being a base, and bases that are gone.
func Interfaces(s *Source) []Finding {
	var out []Finding
	for _, p := range s.Packages {
		if !slices.Contains(core, p.Path) {
			continue
		}
		seen := map[string]bool{}
		for _, f := range p.sources() {
			for _, decl := range f.AST.Decls {
				list, ok := decl.(*ast.GenDecl)
				if !ok {
					continue
				}
				for _, spec := range list.Specs {
					spec, ok := spec.(*ast.TypeSpec)
					if !ok || !spec.Name.IsExported() {
						continue
					}
					if t, ok := spec.Type.(*ast.InterfaceType); ok {
						seen[spec.Name.Name] = true
						out = append(out, s.width(p, spec, t)...)
					}
				}
			}
		}
		for _, base := range bases[p.Path] {
			if !seen[base] {
				out = append(out, Finding{p.Path, "the base " + base + " is gone"})
			}
		}
	}
	return out
}

func (s *Source) width(p *Package, spec *ast.TypeSpec, t *ast.InterfaceType) []Finding {
	var out []Finding
	methods, embedded := 0, 0
	for _, field := range t.Methods.List {
		if len(field.Names) > 0 {
			methods += len(field.Names)
		} else if ident, ok := field.Type.(*ast.Ident); ok && slices.Contains(bases[p.Path], ident.Name) {
			embedded++
		}
	}
	isBase := slices.Contains(bases[p.Path], spec.Name.Name)
	if methods > maxMethods {
		out = append(out, s.finding(spec.Pos(), "interface %s has %d methods, %d are allowed", spec.Name.Name, methods, maxMethods))
	}
	if !isBase && embedded != 1 {
		out = append(out, s.finding(spec.Pos(), "interface %s extends no base: embed one, or list it as one", spec.Name.Name))
	}
	return out
}
