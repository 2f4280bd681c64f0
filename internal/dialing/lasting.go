package dialing

import (
	"net"
	"os"

	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/internal/pidfd"
)

// Lasting has a connection end with the process that the file stands for, which it takes
// over: with none where it is nil.
func Lasting(conn net.Conn, run *os.File) net.Conn {
	switch c := conn.(type) {
	case *net.TCPConn:
		if run != nil {
			go func() {
				if pidfd.Wait(run) {
					_ = netns.Reset(c)
				}
			}()
			return &runStream{c, run}
		}
	case *net.UDPConn:
		if run != nil {
			go func() {
				if pidfd.Wait(run) {
					_ = c.Close()
				}
			}()
			return &runDatagrams{c, run}
		}
	}
	return conn
}

// runStream and runDatagrams are connections whose end ends what watches the run.
type runStream struct {
	*net.TCPConn
	run *os.File
}

// Close implements net.Conn.
func (s *runStream) Close() error {
	_ = s.run.Close()
	return s.TCPConn.Close()
}

type runDatagrams struct {
	*net.UDPConn
	run *os.File
}

// Close implements net.Conn.
func (d *runDatagrams) Close() error {
	_ = d.run.Close()
	return d.UDPConn.Close()
}
