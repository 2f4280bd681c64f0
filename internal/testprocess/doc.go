// Package testprocess does to processes what tests need done.
package testprocess
