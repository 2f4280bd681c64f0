package policy

import (
	"go/ast"
	"go/token"
	"strings"
)

// Features finds constants of features in the core that no list of features, or
// more than one, has: what is in no list is in no table and in no test.
func Features(s *Source) []Finding {
	var out []Finding
	for _, p := range s.Packages {
		if !matches(core, p.Path) {
			continue
		}
		listed := map[string]int{}
		var defined []*ast.Ident
		for _, f := range p.sources() {
			for _, decl := range f.AST.Decls {
				switch decl := decl.(type) {
				case *ast.FuncDecl:
					if !strings.HasSuffix(decl.Name.Name, "Features") || decl.Recv != nil {
						continue
					}
					ast.Inspect(decl, func(n ast.Node) bool {
						if ident, ok := n.(*ast.Ident); ok {
							listed[ident.Name]++
						}
						return true
					})
				case *ast.GenDecl:
					if decl.Tok == token.CONST {
						defined = append(defined, featuresOf(decl)...)
					}
				}
			}
		}
		for _, name := range defined {
			switch n := listed[name.Name]; n {
			case 0:
				out = append(out, s.finding(name.Pos(), "%s is in no list of features", name.Name))
			case 1:
			default:
				out = append(out, s.finding(name.Pos(), "%s is listed %d times", name.Name, n))
			}
		}
	}
	return out
}

// featuresOf returns the exported constants of the type resource.Feature.
func featuresOf(decl *ast.GenDecl) []*ast.Ident {
	var out []*ast.Ident
	for _, spec := range decl.Specs {
		spec := spec.(*ast.ValueSpec)
		if t, ok := spec.Type.(*ast.SelectorExpr); !ok || t.Sel.Name != "Feature" {
			continue
		}
		for _, name := range spec.Names {
			if name.IsExported() {
				out = append(out, name)
			}
		}
	}
	return out
}
