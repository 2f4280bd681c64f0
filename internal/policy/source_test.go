package policy

import (
	"flag"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write generated files anew")

const module = "github.com/univirt/univirt"

// root is the module's folder, as seen from this one.
var root = filepath.Join("..", "..")

// source is one package as it is built for Linux with cgo off.
type source struct {
	// dir is the folder below the module's, "." for the root package.
	dir     string
	imports []string
	fset    *token.FileSet
	files   []*ast.File
}

// internalOnly reports whether no other module can import the package.
func (s source) internalOnly() bool {
	return slices.Contains(strings.Split(s.dir, "/"), "internal")
}

func (s source) command() bool { return s.files[0].Name.Name == "main" }

// public reports whether the package is part of the exported API.
func (s source) public() bool { return !s.internalOnly() && !s.command() }

func (s source) at(pos token.Pos) string {
	p := s.fset.Position(pos)
	rel, err := filepath.Rel(root, p.Filename)
	if err != nil {
		return p.String()
	}
	p.Filename = rel
	return p.String()
}

// sources reads every package of the module.
func sources(t *testing.T) []source {
	t.Helper()
	linux := build.Default
	linux.GOOS, linux.GOARCH, linux.CgoEnabled = "linux", "amd64", false
	var all []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		name := entry.Name()
		if path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata") {
			return filepath.SkipDir
		}
		pkg, err := linux.ImportDir(path, 0)
		if err != nil {
			if _, none := err.(*build.NoGoError); none {
				return nil
			}
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s := source{dir: filepath.ToSlash(rel), imports: pkg.Imports, fset: token.NewFileSet()}
		for _, file := range pkg.GoFiles {
			parsed, err := parser.ParseFile(s.fset, filepath.Join(path, file), nil, parser.ParseComments)
			if err != nil {
				return err
			}
			s.files = append(s.files, parsed)
		}
		if len(s.files) > 0 {
			all = append(all, s)
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(all), 8, "packages found")
	return all
}

// lines reads a text file below the module's folder.
func read(t *testing.T, elem ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{root}, elem...)...))
	require.NoError(t, err)
	return string(text)
}
