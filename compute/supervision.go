package compute

import (
	"time"
)

// RestartMode says when a supervisor starts an instance again.
type RestartMode string

// The restart modes.
const (
	// RestartNever is the default.
	RestartNever RestartMode = "never"
	// RestartOnFailure restarts after an exit other than 0.
	RestartOnFailure RestartMode = "on-failure"
	// RestartAlways restarts after every exit but that of a Stop.
	RestartAlways RestartMode = "always"
)

// RestartPolicy says what a supervisor does when a run ends. It acts only while
// a supervisor runs; Info.Supervised says whether one does. Each restart is a run
// of its own, and between two of them the instance is Stopped: a Stop then keeps
// it so, and a Start does not wait.
type RestartPolicy struct {
	// Mode says after which exits; RestartNever by default.
	Mode RestartMode `json:"mode,omitempty"`
	// MaxRetries bounds restarts in a row; 0 means no bound. A Start begins a new
	// row, and so does a run that lasts ten seconds.
	MaxRetries int `json:"maxRetries,omitempty"`
	// Backoff is the wait before the first restart, doubled each time up to five
	// minutes; 0 means 100 ms.
	Backoff time.Duration `json:"backoff,omitempty"`
}

// Probe is a check of an instance. What is paused is not checked. Exactly one of Exec, TCP and HTTP is set.
type Probe struct {
	// Exec is a command that exits with 0 where all is well.
	Exec []string `json:"exec,omitempty"`
	// TCP is the name or number of a port that accepts a connection.
	TCP string `json:"tcp,omitempty"`
	// HTTP is a request that is answered with a status from 200 to 399.
	HTTP *HTTPProbe `json:"http,omitempty"`
	// Interval between checks; 0 means 10 s. Timeout of one; 0 means 1 s.
	Interval time.Duration `json:"interval,omitempty"`
	Timeout  time.Duration `json:"timeout,omitempty"`
	// StartPeriod is the time after a start in which failures do not count.
	StartPeriod time.Duration `json:"startPeriod,omitempty"`
	// Failures in a row that make the instance unhealthy; 0 means 3.
	Failures int `json:"failures,omitempty"`
}

// HTTPProbe is a request to the instance.
type HTTPProbe struct {
	// Port is the name or number of a port. Required.
	Port string `json:"port"`
	// Path is the absolute path; empty means "/".
	Path string `json:"path,omitempty"`
	// HTTPS uses TLS without checking the certificate.
	HTTPS bool `json:"https,omitempty"`
}

// Health is the outcome of a health check. It is HealthStarting from the start of
// a run until the probe passes or has failed too often, and empty when the run is
// over. It changes nothing but what is told: an unhealthy instance goes on.
type Health string

// The outcomes of a health check.
const (
	HealthStarting  Health = "starting"
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
)
