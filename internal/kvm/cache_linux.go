package kvm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// doubt is how long a finding holds that may be due to a busy host.
const doubt = 10 * time.Minute

// cache is where the last finding is kept.
type cache struct {
	path string
	// key tells what was found about: anything that could change it is in there.
	key string
}

// record is the content of the file.
type record struct {
	Key    string    `json:"key"`
	Found  time.Time `json:"found"`
	Result Result    `json:"result"`
}

// keyOf is empty where a finding must not be kept.
func keyOf(device fs.FileInfo, helper string, who credentials) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	stat, ok := device.Sys().(*syscall.Stat_t)
	if err != nil || !ok {
		return ""
	}
	// A module that is loaded again makes the device anew, and a change of rights
	// is a change of the inode.
	return fmt.Sprintf("boot %s device %d:%d %d %o %d:%d %d.%09d user %d as %s %s:%s helper %s",
		bytes.TrimSpace(boot), stat.Dev, stat.Ino, stat.Rdev, stat.Mode, stat.Uid, stat.Gid, stat.Ctim.Sec, stat.Ctim.Nsec,
		os.Geteuid(), who.uid, who.gid, strings.Join(who.groups, ","), filepath.Base(helper))
}

// get returns what is known. A file that cannot be read is as good as none.
func (c cache) get(now time.Time) (Result, bool) {
	data, err := os.ReadFile(c.path)
	var r record
	if err != nil || json.Unmarshal(data, &r) != nil || c.key == "" || r.Key != c.key {
		return Result{}, false
	}
	// The clock may have been set in between.
	if age := now.Sub(r.Found); !r.Result.Usable && (age < 0 || age >= doubt) {
		return Result{}, false
	}
	return r.Result, true
}

// put replaces the file as a whole.
func (c cache) put(result Result, now time.Time) (err error) {
	if c.key == "" {
		return nil
	}
	data, err := json.Marshal(record{Key: c.key, Found: now, Result: result})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(c.path), ".kvm-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), c.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
