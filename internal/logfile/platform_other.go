//go:build !linux

package logfile

import (
	"errors"
	"io"
	"os"
)

func openLog(_, _ string) (*os.File, error)      { return nil, errors.ErrUnsupported }
func createLog(_, _ string) (*os.File, error)    { return nil, errors.ErrUnsupported }
func takePresence(_, _ string) (*os.File, error) { return nil, errors.ErrUnsupported }
func openPresence(_, _ string) (*os.File, error) { return nil, errors.ErrUnsupported }
func writing(_, _ string) (bool, error)          { return false, errors.ErrUnsupported }
func awaitGone(io.Reader)                        {}

func openInotify() (*os.File, error)           { return nil, errors.ErrUnsupported }
func addWatch(*os.File, string) (int32, error) { return 0, errors.ErrUnsupported }
func removeWatch(*os.File, int32)              {}
func readEvents(*os.File, func(int32, bool))   {}

func identityOf(*os.File) (Identity, error) { return Identity{}, errors.ErrUnsupported }
