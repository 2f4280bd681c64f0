//go:build !race

package speedtest

// raceDetector says that times mean nothing.
const raceDetector = false
