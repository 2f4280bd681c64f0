package policy

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"unicode"
)

// Documentation finds exported identifiers, fields and methods of public
// packages that nothing is said of, and packages without a comment.
//
// A declaration is documented by the comment before or behind it. The comment of
// a list of constants documents them all, and that of a field or method also
// those on the lines behind it, up to a blank one: they are one subject.
func Documentation(s *Source) []Finding {
	var out []Finding
	for _, p := range s.Packages {
		if !p.Public() {
			continue
		}
		if !slices.ContainsFunc(p.sources(), func(f *File) bool { return f.AST.Doc != nil }) {
			out = append(out, Finding{p.Path, "the package has no comment"})
		}
		for _, f := range p.sources() {
			for _, decl := range f.AST.Decls {
				switch decl := decl.(type) {
				case *ast.FuncDecl:
					out = append(out, s.functionDocumentation(decl)...)
				case *ast.GenDecl:
					out = append(out, s.listDocumentation(decl)...)
				}
			}
		}
	}
	return out
}

func (s *Source) functionDocumentation(decl *ast.FuncDecl) []Finding {
	if !decl.Name.IsExported() {
		return nil
	}
	what := "func " + decl.Name.Name
	if decl.Recv != nil && len(decl.Recv.List) > 0 {
		receiver := receiverName(decl.Recv.List[0].Type)
		if !ast.IsExported(receiver) {
			return nil
		}
		what = "method " + receiver + "." + decl.Name.Name
	}
	return s.opening(decl.Pos(), what, decl.Name.Name, decl.Doc)
}

// opening demands a comment that begins with the name, as go doc shows it.
func (s *Source) opening(pos token.Pos, what, name string, doc *ast.CommentGroup) []Finding {
	text := doc.Text()
	if text == "" {
		return []Finding{s.finding(pos, "%s is not documented", what)}
	}
	for _, article := range []string{"", "A ", "An ", "The "} {
		if rest, ok := strings.CutPrefix(text, article+name); ok && (rest == "" || !isWordRune(rune(rest[0]))) {
			return nil
		}
	}
	return []Finding{s.finding(pos, "the comment of %s does not begin with its name", what)}
}

func (s *Source) listDocumentation(decl *ast.GenDecl) []Finding {
	var out []Finding
	for _, spec := range decl.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if !spec.Name.IsExported() {
				continue
			}
			doc := spec.Doc
			if doc == nil && !decl.Lparen.IsValid() {
				doc = decl.Doc
			}
			out = append(out, s.opening(spec.Pos(), "type "+spec.Name.Name, spec.Name.Name, doc)...)
			out = append(out, s.memberDocumentation(spec)...)
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				// The comment of a list says what its members are.
				if name.IsExported() && spec.Doc == nil && spec.Comment == nil && decl.Doc == nil {
					out = append(out, s.finding(name.Pos(), "%s %s is not documented", decl.Tok, name.Name))
				}
			}
		}
	}
	return out
}

// memberDocumentation looks at the fields of a struct and the methods of an
// interface.
func (s *Source) memberDocumentation(spec *ast.TypeSpec) []Finding {
	var fields *ast.FieldList
	kind := "field "
	switch t := spec.Type.(type) {
	case *ast.StructType:
		fields = t.Fields
	case *ast.InterfaceType:
		fields, kind = t.Methods, "method "
	default:
		return nil
	}
	var out []Finding
	covered, end := false, 0
	for _, field := range fields.List {
		begin := s.Files.Position(field.Pos()).Line
		if field.Doc != nil || field.Comment != nil {
			covered = true
		} else if begin > end+1 {
			covered = false
		}
		end = s.Files.Position(field.End()).Line
		for _, name := range field.Names {
			if name.IsExported() && !covered && !speaking[name.Name] {
				out = append(out, s.finding(name.Pos(), "%s%s.%s is not documented", kind, spec.Name.Name, name.Name))
			}
		}
	}
	return out
}

// speaking are members that are the same wherever they stand, and say it all by
// their names and types, and methods that package testing documents.
var speaking = map[string]bool{
	"Ref": true, "Owner": true, "Labels": true, "Annotations": true, "Created": true,
	"Helper": true, "Name": true, "Failed": true, "Cleanup": true, "Log": true, "Logf": true, "Error": true, "Errorf": true,
	"Fatal": true, "Fatalf": true, "FailNow": true, "Skip": true, "Skipf": true,
}

func isWordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func receiverName(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiverName(t.X)
	case *ast.IndexExpr:
		return receiverName(t.X)
	case *ast.IndexListExpr:
		return receiverName(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}
