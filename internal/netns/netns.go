// Package netns works in another network namespace of this host, and connects from there.
package netns
