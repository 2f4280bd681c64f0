package policy

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// File is one Go file, whatever its build constraints say.
type File struct {
	// Path is the file's path below the module's root, with slashes.
	Path  string
	AST   *ast.File
	Lines int
	// Test says that the file belongs to tests only.
	Test bool
	// Linux says that the file is built for Linux, without cgo.
	Linux bool
}

// Package is one folder with Go files.
type Package struct {
	// Path is the folder's path below the module's root; empty for the root.
	Path  string
	Files []*File
}

// Public reports whether other modules may import the package.
func (p *Package) Public() bool {
	if len(p.sources()) == 0 || p.Name() == "main" {
		return false
	}
	return !slices.Contains(strings.Split(p.Path, "/"), "internal")
}

// Name returns the package's name as its clauses say it.
func (p *Package) Name() string {
	for _, f := range p.sources() {
		return f.AST.Name.Name
	}
	return ""
}

// sources returns the files that are not of tests.
func (p *Package) sources() []*File {
	return slices.DeleteFunc(slices.Clone(p.Files), func(f *File) bool { return f.Test })
}

// Source is the source of a module.
type Source struct {
	Root     string
	Module   string
	Files    *token.FileSet
	Packages []*Package
}

// Finding is one place that breaks a rule.
type Finding struct{ At, What string }

// String returns "place: what is wrong".
func (f Finding) String() string { return f.At + ": " + f.What }

// finding makes a finding at a place in the source.
func (s *Source) finding(pos token.Pos, format string, args ...any) Finding {
	at := s.Files.Position(pos)
	rel, err := filepath.Rel(s.Root, at.Filename)
	if err != nil {
		rel = at.Filename
	}
	return Finding{fmt.Sprintf("%s:%d", filepath.ToSlash(rel), at.Line), fmt.Sprintf(format, args...)}
}

// Load reads all Go files below the module's root but those that the go command
// leaves out: below testdata, and where a name begins with a dot or underscore.
func Load(root string) (*Source, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s := &Source{Root: root, Files: token.NewFileSet()}
	if s.Module, err = modulePath(filepath.Join(root, "go.mod")); err != nil {
		return nil, err
	}
	packages := map[string]*Package{}
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if name != root && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			if base == "testdata" || base == "vendor" {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(base) != ".go" {
			return nil
		}
		file, err := s.parse(name)
		if err != nil {
			return err
		}
		dir := path.Dir(file.Path)
		if dir == "." {
			dir = ""
		}
		if packages[dir] == nil {
			packages[dir] = &Package{Path: dir}
			s.Packages = append(s.Packages, packages[dir])
		}
		packages[dir].Files = append(packages[dir].Files, file)
		return nil
	})
	slices.SortFunc(s.Packages, func(a, b *Package) int { return strings.Compare(a.Path, b.Path) })
	return s, err
}

func (s *Source) parse(name string) (*File, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	tree, err := parser.ParseFile(s.Files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(s.Root, name)
	if err != nil {
		return nil, err
	}
	linux := build.Default
	linux.GOOS, linux.GOARCH, linux.CgoEnabled = "linux", "amd64", false
	built, err := linux.MatchFile(filepath.Dir(name), filepath.Base(name))
	if err != nil {
		return nil, err
	}
	return &File{
		Path: filepath.ToSlash(rel), AST: tree, Lines: strings.Count(string(text), "\n"),
		Test: strings.HasSuffix(name, "_test.go"), Linux: built,
	}, nil
}

func modulePath(name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if module, ok := strings.CutPrefix(line, "module "); ok {
			return strings.TrimSpace(module), nil
		}
	}
	return "", fmt.Errorf("%s names no module", name)
}

// imported returns the paths that a file imports, with their places.
func imported(f *File) map[string]token.Pos {
	out := map[string]token.Pos{}
	for _, spec := range f.AST.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			out[name] = spec.Pos()
		}
	}
	return out
}
