package policy

import (
	"go/ast"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestEverythingExportedIsDocumented looks at identifiers, fields and methods of
// all packages that others can import. A group of fields or constants may share
// the comment above it.
func TestEverythingExportedIsDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if !s.public() {
			continue
		}
		documented := false
		for _, file := range s.files {
			documented = documented || file.Doc.Text() != ""
			for _, decl := range file.Decls {
				switch d := decl.(type) {
				case *ast.FuncDecl:
					if d.Name.IsExported() && exportedReceiver(d) {
						assert.NotEmpty(t, d.Doc.Text(), "%s: %s is not documented", s.at(d.Pos()), d.Name)
					}
				case *ast.GenDecl:
					documentedSpecs(t, s, d)
				}
			}
		}
		assert.True(t, documented, "package %s has no documentation", s.dir)
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	return ast.IsExported(receiver(d))
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func documentedSpecs(t *testing.T, s source, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.IsExported() && d.Doc.Text() == "" {
					assert.NotEmpty(t, spec.Doc.Text()+spec.Comment.Text(), "%s: %s is not documented", s.at(name.Pos()), name)
				}
			}
		case *ast.TypeSpec:
			if !spec.Name.IsExported() {
				continue
			}
			assert.NotEmpty(t, d.Doc.Text()+spec.Doc.Text(), "%s: %s is not documented", s.at(spec.Pos()), spec.Name)
			switch x := spec.Type.(type) {
			case *ast.StructType:
				documentedFields(t, s, spec.Name.Name, x.Fields)
			case *ast.InterfaceType:
				documentedFields(t, s, spec.Name.Name, x.Methods)
			}
		}
	}
}

// documentedFields demands a comment for each exported field or method, or one
// above the run of fields that it stands in: fields on successive lines are one
// subject.
func documentedFields(t *testing.T, s source, of string, list *ast.FieldList) {
	covered, last := false, 0
	for _, f := range list.List {
		line := s.fset.Position(f.Pos()).Line
		if f.Doc.Text() != "" || f.Comment.Text() != "" {
			covered = true
		} else if line != last+1 {
			covered = false
		}
		last = s.fset.Position(f.End()).Line
		for _, name := range f.Names {
			if name.IsExported() && !covered && !plain(name.Name) {
				t.Errorf("%s: %s.%s is not documented", s.at(name.Pos()), of, name)
			}
		}
	}
}

// ofTesting are methods that package testing documents.
var ofTesting = []string{"Helper", "Name", "Failed", "Cleanup", "Log", "Logf", "Error", "Errorf", "Fatal", "Fatalf", "FailNow", "Skip", "Skipf"}

// plain fields and methods are the same wherever they stand, and say it all by
// their names and types.
func plain(name string) bool {
	return strings.Contains(" Ref Owner Labels Annotations Created ", " "+name+" ") || slices.Contains(ofTesting, name)
}
