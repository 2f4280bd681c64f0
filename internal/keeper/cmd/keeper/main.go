//go:build linux

// Keeper is the helper that does what must outlive the process that asked for
// it. Its arguments are pairs of a key and a value in any order, because that is
// how containerd's shim starts a log writer; the key "role" says what it is:
//
//	log       stores what is read from file descriptors 3 and 4
//	libvirtd  runs a private libvirtd and is the parent of its VMs
//	forward   forwards ports of the host for as long as a process runs
//	kvm       runs a loop on /dev/kvm and prints what came of it
//
// It is embedded in package keeper, which documents its arguments in Go.
package main

import (
	"errors"
	"os"
)

// The exit codes. Nobody reads what the log writer prints, and it prints nothing;
// what the other roles print ends up in a log or is an answer.
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
		case "libvirtd":
			err = report(runLibvirtd(args))
		case "forward":
			err = runForward(args)
		case "kvm":
			err = report(runKVM(args))
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

// report prints an error for those who read it.
func report(err error) error {
	if err != nil && !errors.Is(err, errUsage) {
		_, _ = os.Stderr.WriteString("keeper: " + err.Error() + "\n")
	}
	return err
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
