//go:build !linux || (!amd64 && !arm64)

package keeper

var binary []byte
