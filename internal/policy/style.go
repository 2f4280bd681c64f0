package policy

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// maxLines is how long a file may be.
const maxLines = 700

// emptyNames are names of packages that say nothing of what is in them.
var emptyNames = []string{
	"util", "utils", "common", "commons", "helper", "helpers", "type", "types", "base", "misc", "lib", "shared",
}

// Names finds packages, folders and files whose name says nothing.
func Names(s *Source) []Finding {
	var out []Finding
	for _, p := range s.Packages {
		for _, part := range strings.Split(p.Path, "/") {
			if slices.Contains(emptyNames, part) {
				out = append(out, Finding{p.Path, "the folder's name " + part + " does not say what is in it"})
			}
		}
		for _, f := range p.Files {
			stem := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.Path), ".go"), "_test")
			if slices.Contains(emptyNames, stem) {
				out = append(out, Finding{f.Path, "the file's name does not say what is in it"})
			}
		}
		if name := p.Name(); slices.Contains(emptyNames, name) && path.Base(p.Path) != name {
			out = append(out, Finding{p.Path, "the package's name " + name + " does not say what is in it"})
		}
	}
	return out
}

// Sizes finds files that are too long.
func Sizes(s *Source) []Finding {
	var out []Finding
	for _, p := range s.Packages {
		for _, f := range p.Files {
			if f.Lines > maxLines {
				out = append(out, s.finding(f.AST.Package, "the file has %d lines, %d are allowed: split it", f.Lines, maxLines))
			}
		}
	}
	return out
}

// Sleeps finds tests that sleep. Within a bubble of testing/synctest a sleep
// takes no time, so files that use it may; elsewhere a comment behind the call
// says why it synchronises nothing, such as the pace of a simulated program.
func Sleeps(s *Source) []Finding {
	var out []Finding
	for _, p := range s.Packages {
		for _, f := range p.Files {
			_, bubbles := imported(f)["testing/synctest"]
			if bubbles || !f.Test && !isSuite(p.Path) {
				continue
			}
			reasons := map[int]bool{}
			for _, group := range f.AST.Comments {
				reasons[s.Files.Position(group.Pos()).Line] = true
			}
			ast.Inspect(f.AST, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && isCall(call, "time", "Sleep") && !reasons[s.Files.Position(call.Pos()).Line] {
					out = append(out, s.finding(call.Pos(), "a test must not sleep: wait for an event, or say behind the call why it synchronises nothing"))
				}
				return true
			})
		}
	}
	return out
}

// isSuite reports whether a package is made of tests for others, though its
// files are not named so. The guest's programs are no tests.
func isSuite(dir string) bool {
	return matches([]string{"providers/providertest/..."}, dir) && !matches([]string{"providers/providertest/guest/..."}, dir)
}

// ErrorTexts finds places that tell errors apart by their text, but for files
// whose name ends in errors, where each is recorded with the version it was seen
// on. Tests are left aside: they check what messages say.
func ErrorTexts(s *Source) []Finding {
	var out []Finding
	for _, p := range s.Packages {
		if isSuite(p.Path) {
			continue
		}
		constants := constantsOf(p)
		for _, f := range p.sources() {
			stem := strings.TrimSuffix(path.Base(f.Path), ".go")
			for _, system := range []string{"_linux", "_other", "_unix", "_darwin", "_windows"} {
				stem = strings.TrimSuffix(stem, system)
			}
			if strings.HasSuffix(stem, "errors") {
				continue
			}
			ast.Inspect(f.AST, func(n ast.Node) bool {
				if tellsByText(n, constants) {
					out = append(out, s.finding(n.Pos(), "an error must not be told by its text outside of errors.go"))
				}
				return true
			})
		}
	}
	return out
}

// constantsOf returns the names of a package's constants.
func constantsOf(p *Package) map[string]bool {
	out := map[string]bool{}
	for _, f := range p.sources() {
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if list, ok := n.(*ast.GenDecl); ok && list.Tok == token.CONST {
				for _, spec := range list.Specs {
					for _, name := range spec.(*ast.ValueSpec).Names {
						out[name.Name] = true
					}
				}
			}
			return true
		})
	}
	return out
}

// searching are functions that look for one text in another.
var searching = []string{
	"Contains", "ContainsAny", "HasPrefix", "HasSuffix", "EqualFold", "Index", "LastIndex", "Cut", "CutPrefix", "CutSuffix",
	"MatchString", "FindString", "FindStringSubmatch",
}

// tellsByText reports whether a node compares the text of an error with a fixed
// one, or searches it for one.
func tellsByText(n ast.Node, constants map[string]bool) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		fun, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains(searching, fun.Sel.Name) || !slices.ContainsFunc(n.Args, isErrorText) {
			return false
		}
		// A method has the fixed text in its receiver: a regular expression.
		return len(n.Args) == 1 || slices.ContainsFunc(n.Args, func(e ast.Expr) bool { return isFixed(e, constants) })
	case *ast.BinaryExpr:
		return (n.Op == token.EQL || n.Op == token.NEQ) &&
			(isErrorText(n.X) && isFixed(n.Y, constants) || isErrorText(n.Y) && isFixed(n.X, constants))
	case *ast.SwitchStmt:
		return n.Tag != nil && isErrorText(n.Tag)
	}
	return false
}

func isFixed(e ast.Expr, constants map[string]bool) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING
	case *ast.Ident:
		return constants[e.Name]
	}
	return false
}

// isErrorText reports whether an expression is x.Error(), or made of it.
func isErrorText(e ast.Expr) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 0 {
			if fun, ok := call.Fun.(*ast.SelectorExpr); ok && fun.Sel.Name == "Error" {
				found = true
			}
		}
		return !found
	})
	return found
}

// Contexts finds functions and methods of public packages that take a context in
// another place than the first, and structs of the core that keep one.
func Contexts(s *Source) []Finding {
	var out []Finding
	for _, p := range s.Packages {
		for _, f := range p.sources() {
			ast.Inspect(f.AST, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					if p.Public() && n.Name.IsExported() {
						out = append(out, s.contextPlace(n.Name.Name, n.Type)...)
					}
				case *ast.StructType:
					for _, field := range n.Fields.List {
						if slices.Contains(core, p.Path) && isContext(field.Type) {
							out = append(out, s.finding(field.Pos(), "a context must not be kept: it bounds the call"))
						}
					}
				}
				return true
			})
		}
	}
	return out
}

func (s *Source) contextPlace(name string, t *ast.FuncType) []Finding {
	for i, field := range t.Params.List {
		if i > 0 && isContext(field.Type) {
			return []Finding{s.finding(field.Pos(), "the context of %s must be its first parameter", name)}
		}
	}
	return nil
}

func isContext(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	from, ok := sel.X.(*ast.Ident)
	return ok && from.Name == "context" && sel.Sel.Name == "Context"
}

func isCall(call *ast.CallExpr, from, name string) bool {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || fun.Sel.Name != name {
		return false
	}
	ident, ok := fun.X.(*ast.Ident)
	return ok && ident.Name == from
}
