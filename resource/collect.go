package resource

import "iter"

// Collect reads a stream to its end and returns what it yielded. The error is
// the one that the stream ended with; what came before it is returned too.
func Collect[T any](stream iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for item, err := range stream {
		if err != nil {
			return all, err
		}
		all = append(all, item)
	}
	return all, nil
}
