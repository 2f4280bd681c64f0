package fake

import (
	"io/fs"
	"slices"
	"strings"
	"syscall"
)

// view is the files of an instance as its programs see them: a root with mounts
// in it. The lock of the backend's files guards it.
type view struct {
	root *mounted
	// over are the mounts by what they hide. The same node may be seen in two
	// places, and be hidden in one.
	over map[step]*mounted
}

// mounted is a filesystem, or a part of one, in its place in a view.
type mounted struct {
	fs *filesystem
	// root is what is seen at the place: the filesystem's root or a node below it.
	root     *node
	readOnly bool
	// open counts the open files of the run under way.
	open int
}

// step is a node on the way through a view, and the mount that it was found in.
type step struct {
	node *node
	at   *mounted
}

// spot is where a path leads to.
type spot struct {
	// trail are the folders on the way, the root first; the last is the one that
	// holds the name.
	trail []step
	// name is the last name of the path, after links were followed; empty where
	// the path ends in the root or in "..".
	name string
	// step is what is there; its node is nil where nothing is.
	step
}

// folder is the folder that holds the name.
func (s spot) folder() step { return s.trail[len(s.trail)-1] }

// full is the trail with what is there at its end.
func (s spot) full() []step {
	if s.name == "" {
		return s.trail
	}
	return append(slices.Clip(s.trail), s.step)
}

// hidden is what the folder holds at the spot, below what is mounted there.
func (s spot) hidden() step {
	return step{s.folder().node.children[s.name], s.folder().at}
}

const (
	maxPath  = 4095
	maxName  = 255
	maxLinks = 40
)

// credentials are who looks at files. The zero value is root.
type credentials struct {
	uid, gid int
	groups   []int
}

// The permissions that may asks for.
const (
	mayExecute = 1 << iota
	mayWrite
	mayRead
)

// may reports whether a node's permissions allow something.
func (c credentials) may(n *node, what fs.FileMode) bool {
	granted := n.mode.Perm()
	switch {
	case c.uid == 0:
		return true
	case c.uid == n.uid:
		granted >>= 6
	case c.gid == n.gid || slices.Contains(c.groups, n.gid):
		granted >>= 3
	}
	return granted&what == what
}

// start is the trail that begins a walk.
func (v *view) start() []step { return []step{{v.root.root, v.root}} }

// walk follows a path from the end of a trail. Links are followed within the
// view's root, the last one where follow says so. Where only the last name is not
// there, the spot has no node.
func (v *view) walk(who credentials, trail []step, text string, follow bool) (spot, error) {
	switch {
	case text == "":
		return spot{}, syscall.ENOENT
	case len(text) > maxPath:
		return spot{}, syscall.ENAMETOOLONG
	case strings.ContainsRune(text, 0):
		return spot{}, syscall.EINVAL
	}
	trail = slices.Clip(trail)
	if text[0] == '/' {
		trail = trail[:1:1]
	}
	rest, mustBeFolder := split(text)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		top := trail[len(trail)-1]
		switch {
		case !top.node.mode.IsDir():
			return spot{}, syscall.ENOTDIR
		case !who.may(top.node, mayExecute):
			return spot{}, syscall.EACCES
		case len(name) > maxName:
			return spot{}, syscall.ENAMETOOLONG
		case name == "..":
			trail = trail[:max(len(trail)-1, 1):max(len(trail)-1, 1)]
			continue
		}
		last := len(rest) == 0
		next, ok := v.child(top, name)
		switch {
		case !ok && last:
			return spot{trail: trail, name: name}, nil
		case !ok:
			return spot{}, syscall.ENOENT
		case next.node.mode&fs.ModeSymlink != 0 && (!last || follow || mustBeFolder):
			if links++; links > maxLinks {
				return spot{}, syscall.ELOOP
			}
			target, folder := split(next.node.target)
			mustBeFolder = mustBeFolder || last && folder
			if strings.HasPrefix(next.node.target, "/") {
				trail = trail[:1:1]
			}
			if len(target)+len(rest) > maxPath {
				return spot{}, syscall.ENAMETOOLONG
			}
			rest = append(target, rest...)
		case last && mustBeFolder && !next.node.mode.IsDir():
			return spot{}, syscall.ENOTDIR
		case last:
			return spot{trail: trail, name: name, step: next}, nil
		default:
			trail = append(trail, next)
		}
	}
	return spot{trail: trail, step: trail[len(trail)-1]}, nil
}

// child looks a name up in a folder, and what is mounted there.
func (v *view) child(in step, name string) (step, bool) {
	n, ok := in.node.children[name]
	if !ok {
		return step{}, false
	}
	next := step{n, in.at}
	for m := v.over[next]; m != nil; m = v.over[next] {
		next = step{m.root, m}
	}
	return next, true
}

// split returns the names of a path, and whether it says that it ends in a
// folder.
func split(text string) (names []string, folder bool) {
	for name := range strings.SplitSeq(text, "/") {
		folder = name == "" || name == "."
		if !folder {
			names = append(names, name)
		}
	}
	return names, folder
}

// within reports whether a trail leads through the end of another.
func within(base, trail []step) bool {
	return len(trail) >= len(base) && trail[len(base)-1] == base[len(base)-1]
}
