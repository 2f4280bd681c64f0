package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// identity tells one process from every other that has had or will have its
// pid, across reboots.
type identity struct {
	PID  int    `json:"pid"`
	Boot string `json:"boot"`
	// Start is the start time in clock ticks since the boot.
	Start uint64 `json:"start"`
	// Exe is the program that runs. It stands here only once the daemon was
	// ready, because a daemon may be started through a wrapper that becomes it.
	Exe string `json:"exe,omitempty"`
}

const deletedSuffix = " (deleted)"

// identify reads the identity of a process that is neither gone nor a zombie.
func identify(pid int) (identity, error) {
	boot, err := bootID()
	if err != nil {
		return identity{}, err
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return identity{}, err
	}
	state, start, err := parseStat(data)
	if err != nil {
		return identity{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	if state == 'Z' || state == 'X' {
		return identity{}, fmt.Errorf("process %d has ended: %w", pid, errdefs.ErrNotFound)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return identity{}, err
	}
	return identity{
		PID:   pid,
		Boot:  boot,
		Start: start,
		// An upgrade of the package replaces the file while the old one runs.
		Exe: strings.TrimSuffix(exe, deletedSuffix),
	}, nil
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(id)), err
}

// same compares a recorded identity with one just read.
func (id identity) same(now identity) bool {
	if id.Exe == "" {
		now.Exe = ""
	}
	return id == now
}

var errStat = errors.New("malformed")

// parseStat takes the state and the start time from /proc/PID/stat. The second
// field is the program's name in parentheses and may itself hold any byte.
func parseStat(data []byte) (state byte, start uint64, err error) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return 0, 0, errStat
	}
	fields := strings.Fields(string(data[end+1:]))
	const stateField, startField = 0, 19
	if len(fields) <= startField || len(fields[stateField]) != 1 {
		return 0, 0, errStat
	}
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	if err != nil {
		return 0, 0, errStat
	}
	return fields[stateField][0], start, nil
}

// markVariable is in the environment of the daemon and of all that it starts.
const markVariable = "UNIVIRT_DAEMON"

// search finds a daemon whose record names no process, because its starter was
// killed between starting and recording it. What the daemon itself started
// bears the same mark, so the command line must match as well.
func search(mark string, argv []string) (identity, bool) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return identity{}, false
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		id, err := identify(pid)
		if err != nil || !slices.Equal(procList(pid, "cmdline"), argv) {
			continue
		}
		if slices.Contains(procList(pid, "environ"), markVariable+"="+mark) {
			return id, true
		}
	}
	return identity{}, false
}

// procList reads a file of /proc/PID that holds strings which end in zero.
func procList(pid int, name string) []string {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}
