// Package resource holds the vocabulary that every kind of resource shares:
// references, names, labels and selectors, errors, events, progress, owners,
// lifetimes, secrets, and the data that says what a provider can do.
//
// It is a leaf: it imports nothing of this module, and beyond the standard
// library only [github.com/containerd/errdefs], whose sentinels are the error
// kinds of the whole API.
package resource
