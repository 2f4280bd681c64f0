package containerd

import "syscall"

// stopSignals make a process stand still, and go on.
func stopSignals() (freeze, thaw syscall.Signal) { return syscall.SIGSTOP, syscall.SIGCONT }
