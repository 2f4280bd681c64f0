package compute

// Level is a step of the ladder from "it exists" to "it can be used". Each
// level includes those below it that the instance can reach: one without networks
// has no address, and one whose guest has no agent does not answer.
type Level int

// The levels of readiness. The zero value says that nothing is known yet.
const (
	// LevelNone is below every step.
	LevelNone Level = iota
	// LevelCreated instances exist.
	LevelCreated
	// LevelRunning instances have a run under way: a main process, or a
	// virtual processor that executes something.
	LevelRunning
	// LevelBooted guests have reached userspace. Containers have at once.
	LevelBooted
	// LevelAgent instances answer Exec. Containers do at once.
	LevelAgent
	// LevelAddress instances have an address on each of their networks; to wait for it
	// is FailedPrecondition where there are none. A guest that has no agent does not
	// reach it, but WaitFor returns when it has leased them.
	LevelAddress
	// LevelHealthy instances pass their readiness probe, or their health check
	// where they have no such probe.
	LevelHealthy
)

var levelNames = [...]string{"none", "created", "running", "booted", "agent", "address", "healthy"}

// String returns the level's name.
func (l Level) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return "unknown"
	}
	return levelNames[l]
}
