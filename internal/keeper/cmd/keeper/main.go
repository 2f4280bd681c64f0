//go:build linux

// Keeper is the helper that does what must outlive the process that asked for
// it. Its arguments are pairs of a key and a value in any order, because that is
// how containerd's shim starts a log writer; the key "role" says what it is:
//
//	log    stores what is read from file descriptors 3 and 4
//
// It is embedded in package keeper, which documents its arguments in Go.
package main

import (
	"errors"
	"os"
)

// The exit codes; nobody reads what the helper prints, and it prints nothing.
const (
	exitFailed = 1
	exitUsage  = 2
)

var errUsage = errors.New("usage")

func main() {
	args, err := parseArgs(os.Args[1:])
	if err == nil {
		switch args["role"] {
		case "log":
			err = runLog(args)
		default:
			err = errUsage
		}
	}
	switch {
	case errors.Is(err, errUsage):
		os.Exit(exitUsage)
	case err != nil:
		os.Exit(exitFailed)
	}
}

// parseArgs refuses what is not a list of pairs with different keys.
func parseArgs(list []string) (map[string]string, error) {
	if len(list)%2 != 0 {
		return nil, errUsage
	}
	args := make(map[string]string, len(list)/2)
	for i := 0; i < len(list); i += 2 {
		if _, twice := args[list[i]]; twice {
			return nil, errUsage
		}
		args[list[i]] = list[i+1]
	}
	return args, nil
}
