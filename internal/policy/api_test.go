package policy

import (
	"bytes"
	"go/ast"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestExportedAPI compares the exported API with api/*.txt, so that every change
// of it is seen in review.
func TestExportedAPI(t *testing.T) {
	dir := filepath.Join(root, "api")
	wanted := map[string]bool{}
	s := load(t)
	for _, p := range s.Packages {
		if !p.Public() {
			continue
		}
		name := "univirt.txt"
		if p.Path != "" {
			name = strings.ReplaceAll(p.Path, "/", "-") + ".txt"
		}
		wanted[name] = true
		text := exported(t, s.Files, p)
		if *update {
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
			continue
		}
		have, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err, "run: go test ./internal/policy -update")
		assert.Empty(t, changed(string(have), text),
			"the exported API of %s changed; if that is meant: go test ./internal/policy -update", p.Path)
	}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, file := range files {
		if !wanted[file.Name()] {
			if *update {
				require.NoError(t, os.Remove(filepath.Join(dir, file.Name())))
				continue
			}
			t.Errorf("api/%s is of no package", file.Name())
		}
	}
}

// changed lists the lines that only one of two texts has, as a diff would.
func changed(before, after string) []string {
	old, now := strings.Split(before, "\n"), strings.Split(after, "\n")
	var lines []string
	for _, line := range old {
		if !slices.Contains(now, line) {
			lines = append(lines, "-"+line)
		}
	}
	for _, line := range now {
		if !slices.Contains(old, line) {
			lines = append(lines, "+"+line)
		}
	}
	if len(lines) == 0 && before != after {
		lines = []string{"the order of lines"}
	}
	return lines
}

// exported lists what a package exports on Linux, one declaration after the
// other, sorted.
func exported(t *testing.T, files *token.FileSet, p *Package) string {
	var items []string
	add := func(node any) {
		var b bytes.Buffer
		require.NoError(t, (&printer.Config{Mode: printer.UseSpaces | printer.TabIndent, Tabwidth: 8}).Fprint(&b, files, node))
		// Blank lines follow the comments that are left out.
		items = append(items, regexp.MustCompile(`\n\s*\n`).ReplaceAllString(b.String(), "\n"))
	}
	for _, file := range p.sources() {
		if !file.Linux {
			continue
		}
		for _, decl := range file.AST.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiverName(d.Recv.List[0].Type))) {
					add(&ast.FuncDecl{Recv: d.Recv, Name: d.Name, Type: d.Type})
				}
			case *ast.GenDecl:
				var typ ast.Expr
				var values []ast.Expr
				for n, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						if spec.Name.IsExported() {
							add(&ast.GenDecl{Tok: d.Tok, Specs: []ast.Spec{bare(spec)}})
						}
					case *ast.ValueSpec:
						if d.Tok == token.VAR || len(spec.Values) > 0 {
							typ, values = spec.Type, spec.Values
						}
						for i, name := range spec.Names {
							if !name.IsExported() {
								continue
							}
							one := &ast.ValueSpec{Names: []*ast.Ident{name}, Type: typ}
							if i < len(values) && d.Tok == token.CONST {
								one.Values = []ast.Expr{counted(values[i], n)}
							}
							add(&ast.GenDecl{Tok: d.Tok, Specs: []ast.Spec{one}})
						}
					}
				}
			}
		}
	}
	slices.Sort(items)
	return strings.Join(items, "\n") + "\n"
}

// bare returns a type without comments and without what is not exported.
func bare(spec *ast.TypeSpec) *ast.TypeSpec {
	out := *spec
	out.Doc, out.Comment = nil, nil
	strip := func(list *ast.FieldList) *ast.FieldList {
		kept := &ast.FieldList{Opening: list.Opening, Closing: list.Closing}
		for _, f := range list.List {
			g := *f
			g.Doc, g.Comment, g.Names = nil, nil, nil
			for _, name := range f.Names {
				if name.IsExported() {
					g.Names = append(g.Names, name)
				}
			}
			if len(f.Names) == 0 || len(g.Names) > 0 {
				kept.List = append(kept.List, &g)
			}
		}
		return kept
	}
	switch x := out.Type.(type) {
	case *ast.StructType:
		out.Type = &ast.StructType{Struct: x.Struct, Fields: strip(x.Fields)}
	case *ast.InterfaceType:
		out.Type = &ast.InterfaceType{Interface: x.Interface, Methods: strip(x.Methods)}
	}
	return &out
}

// counted returns a constant's value with its number in the list in the place of
// iota, so that a change of the order is seen.
func counted(value ast.Expr, n int) ast.Expr {
	switch e := value.(type) {
	case *ast.Ident:
		if e.Name == "iota" {
			return &ast.BasicLit{Kind: token.INT, Value: strconv.Itoa(n)}
		}
	case *ast.BinaryExpr:
		return &ast.BinaryExpr{X: counted(e.X, n), Op: e.Op, Y: counted(e.Y, n)}
	case *ast.ParenExpr:
		return &ast.ParenExpr{X: counted(e.X, n)}
	}
	return value
}
