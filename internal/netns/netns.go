// Package netns connects to addresses of another network namespace of this host.
package netns
