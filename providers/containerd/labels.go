package containerd

import (
	"strings"

	"github.com/univirt/univirt/resource"
)

const (
	// escaped is put before the keys that mean something to containerd, such as
	// containerd.io/gc.root. No caller can use it: the prefix is reserved.
	escaped = resource.ReservedPrefix + "label/"
	// emptyValue stands for no text, which containerd does not store. It is no
	// valid value.
	emptyValue = "-"
)

// storedLabel is a label of a caller's as the container has it.
func storedLabel(key, value string) (string, string) {
	if strings.HasPrefix(key, "containerd.io/") {
		key = escaped + key
	}
	if value == "" {
		value = emptyValue
	}
	return key, value
}

// storedLabels is storedLabel for all. The map is never nil.
func storedLabels(labels resource.Labels) map[string]string {
	out := make(map[string]string, len(labels)+4)
	for key, value := range labels {
		key, value = storedLabel(key, value)
		out[key] = value
	}
	return out
}

// readLabel is the inverse of storedLabel; false for a label that is not a
// caller's.
func readLabel(key, value string) (_, _ string, users bool) {
	if original, found := strings.CutPrefix(key, escaped); found {
		key = original
	} else if strings.HasPrefix(key, resource.ReservedPrefix) || strings.HasPrefix(key, "containerd.io/") {
		return "", "", false
	}
	if value == emptyValue {
		value = ""
	}
	return key, value, true
}

// userLabels are the labels that callers gave.
func userLabels(stored map[string]string) resource.Labels {
	var labels resource.Labels
	for key, value := range stored {
		key, value, users := readLabel(key, value)
		if !users {
			continue
		}
		if labels == nil {
			labels = make(resource.Labels, len(stored))
		}
		labels[key] = value
	}
	return labels
}
