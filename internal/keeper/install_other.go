//go:build !linux

package keeper

import "errors"

func install(string, []byte) (string, error) { return "", errors.ErrUnsupported }
