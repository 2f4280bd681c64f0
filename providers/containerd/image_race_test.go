//go:build race

package containerd

// raceDetector says that times mean nothing.
const raceDetector = true
