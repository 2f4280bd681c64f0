package fake

import (
	"errors"
	"io/fs"
)

// FS returns the tree for reading, as package io/fs has it: names are relative to
// the root. Links are followed within the root.
func (t *Tree) FS() fs.FS { return treeFS{t} }

type treeFS struct{ t *Tree }

var (
	_ fs.ReadDirFS  = treeFS{}
	_ fs.ReadFileFS = treeFS{}
	_ fs.StatFS     = treeFS{}
	_ fs.ReadLinkFS = treeFS{}
)

// checked calls f with the name inside the tree, and puts the name outside into
// its error.
func checked[V any](op, name string, f func(inside string) (V, error)) (V, error) {
	var none V
	if !fs.ValidPath(name) {
		return none, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	v, err := f("/" + name)
	if err == nil {
		return v, nil
	}
	var e *fs.PathError
	if errors.As(err, &e) {
		err = e.Err
	}
	return none, &fs.PathError{Op: op, Path: name, Err: err}
}

func (f treeFS) Open(name string) (fs.File, error) {
	return checked("open", name, func(inside string) (fs.File, error) {
		file, err := f.t.Open(inside)
		if err != nil {
			return nil, err
		}
		file.name = name
		return file, nil
	})
}

func (f treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	return checked("readdir", name, f.t.ReadDir)
}

func (f treeFS) ReadFile(name string) ([]byte, error) {
	return checked("read", name, f.t.ReadFile)
}

func (f treeFS) Stat(name string) (fs.FileInfo, error) {
	return checked("stat", name, f.t.Stat)
}

func (f treeFS) Lstat(name string) (fs.FileInfo, error) {
	return checked("lstat", name, f.t.Lstat)
}

func (f treeFS) ReadLink(name string) (string, error) {
	return checked("readlink", name, f.t.Readlink)
}
