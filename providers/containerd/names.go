package containerd

import (
	"strconv"
	"strings"
)

// The labels of this package on containerd's objects.
const (
	labelName       = "univirt.io/name"
	labelID         = "univirt.io/id"
	labelImage      = "univirt.io/image"
	labelOwner      = "univirt.io/owner"
	labelGeneration = "univirt.io/generation"
	labelDeadline   = "univirt.io/deadline"
	labelExit       = "univirt.io/exit"
	labelStop       = "univirt.io/stop"
	labelFound      = "univirt.io/found"
	labelState      = "univirt.io/state"
	// labelRevision is a record's revision, apart from the record, so that events
	// tell it.
	labelRevision = "univirt.io/revision"

	// labelDefaultSnapshotter is containerd's own.
	labelDefaultSnapshotter = "containerd.io/defaults/snapshotter"
)

// spaceOf returns the namespace of containerd that a namespace of ours is.
// Containerd refuses two separators in a row, so that each hyphen behind a
// hyphen becomes an X, which no namespace of ours has.
func spaceOf(namespace string) string {
	b := []byte(namespacePrefix + namespace)
	for i := 1; i < len(b); i++ {
		if b[i] == '-' && (b[i-1] == '-' || b[i-1] == 'X') {
			b[i] = 'X'
		}
	}
	return string(b)
}

// snapshotKey returns the key of the root filesystem of the instance of a name:
// the object whose exclusive creation makes the name unique.
func snapshotKey(name string) string { return namespacePrefix + name }

// nameOfKey is the inverse of snapshotKey.
func nameOfKey(key string) (string, bool) { return strings.CutPrefix(key, namespacePrefix) }

// byLabel returns a filter of containerd for one label's value.
func byLabel(label, value string) string {
	return "labels." + strconv.Quote(label) + "==" + strconv.Quote(value)
}
