package hostnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// version is that of the records that this code writes.
const version = 1

// temporary begins the names of files that are being written.
const temporary = ".new-"

// document is a record on disk.
type document[T any] struct {
	Version int `json:"version"`
	Record  T   `json:"record"`
}

// create writes a record that must not be there yet, whole or not at all.
func create(path string, record any) error { return write(path, record, os.Link) }

// replace writes a record over another, whole or not at all.
func replace(path string, record any) error { return write(path, record, os.Rename) }

func write(path string, record any, publish func(from, to string) error) error {
	text, err := json.Marshal(document[any]{version, record})
	if err != nil {
		return err
	}
	return writeWhole(path, text, publish)
}

// writeWhole writes a file beside its place and then puts it there. It is on disk
// before, as the power can fail.
func writeWhole(path string, text []byte, publish func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), temporary+"*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return publish(f.Name(), path)
}

// read reads a record. One of a newer version is refused, and what is no record is
// DataLoss.
func read[T any](path string) (record T, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return record, err
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil || head.Version < 1 {
		return record, failed(errdefs.ErrDataLoss, "", "%s is no record", path)
	}
	if head.Version > version {
		return record, newer(path, head.Version)
	}
	var doc document[T]
	if err := json.Unmarshal(text, &doc); err != nil {
		return record, failed(errdefs.ErrDataLoss, "", "%s: %w", path, err)
	}
	return doc.Record, nil
}

// homeOf reads the ID of a folder for state, or gives it one. Of several processes
// that do so at once one wins.
func homeOf(dir string) (string, error) {
	path := filepath.Join(dir, "home")
	text, err := os.ReadFile(path)
	if isAbsent(err) {
		if err := writeWhole(path, []byte(resource.NewID()), os.Link); err != nil && !isThere(err) {
			return "", err
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if !resource.IsID(id) {
		return "", fmt.Errorf("%s holds no ID", path)
	}
	return id, nil
}

// namesIn lists the files of a folder, those that are being written left aside. A
// folder that is not there has none.
func namesIn(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Readdirnames(-1)
	names := all[:0]
	for _, name := range all {
		if !strings.HasPrefix(name, temporary) {
			names = append(names, name)
		}
	}
	return names, err
}

// unlink removes a file; none is no error.
func unlink(path string) error {
	if err := os.Remove(path); err != nil && !isAbsent(err) {
		return err
	}
	return nil
}
