package compute

import (
	"time"

	"github.com/univirt/univirt/resource"
)

// Stats are an instance's counters at one time. Counters are cumulative since
// the start of the run and only grow within it; a rate needs two samples, see
// [RateOf]. A value that the backend cannot give is -1.
type Stats struct {
	Ref resource.Ref
	// Time is when the counters were read, and Run the run that they belong to.
	Time time.Time
	Run  string

	// CPU, Memory and Disk are those of the whole instance, PIDs is the number of
	// its processes and threads, and Network has an entry for each attachment.
	CPU     CPUStats
	Memory  MemoryStats
	PIDs    int64
	Disk    IOStats
	Network []NetworkStats
}

// CPUStats are the processor's counters.
type CPUStats struct {
	// Usage is processor time over all cores; User and System are its parts.
	Usage, User, System time.Duration
	// ThrottledPeriods counts the periods in which the limit was reached, and
	// Throttled the time spent waiting for it.
	ThrottledPeriods int64
	Throttled        time.Duration
}

// MemoryStats are bytes of memory.
type MemoryStats struct {
	// Usage is what is held now without the page cache that can be dropped at
	// once; Cache is that cache.
	Usage, Cache int64
	// Peak is the highest use of the run.
	Peak int64
	// Limit is the bound, -1 for none.
	Limit int64
	// OOMKills counts processes ended for want of memory.
	OOMKills int64
}

// IOStats count what was read and written.
type IOStats struct {
	// Bytes and operations are counted at the block device.
	ReadBytes, WriteBytes int64
	ReadOps, WriteOps     int64
}

// NetworkStats count what one attachment received and sent.
type NetworkStats struct {
	// Endpoint is the attachment's endpoint.
	Endpoint                        string
	ReceiveBytes, TransmitBytes     int64
	ReceivePackets, TransmitPackets int64
	ReceiveDropped, TransmitDropped int64
	ReceiveErrors, TransmitErrors   int64
}

// Rate is what happened between two samples, per second.
type Rate struct {
	// CPUs is the number of cores kept busy.
	CPUs float64
	// DiskRead, DiskWrite, NetReceive and NetTransmit are bytes a second.
	DiskRead, DiskWrite, NetReceive, NetTransmit float64
}

// RateOf returns the rate between two samples of one run. It is false where
// they are of different runs or instances, or not in order: a counter that
// began anew would look like an absurd rate.
func RateOf(earlier, later Stats) (Rate, bool) {
	seconds := later.Time.Sub(earlier.Time).Seconds()
	if earlier.Ref.ID != later.Ref.ID || earlier.Run != later.Run || seconds <= 0 {
		return Rate{}, false
	}
	per := func(a, b int64) float64 {
		if a < 0 || b < a {
			return 0
		}
		return float64(b-a) / seconds
	}
	r := Rate{
		CPUs:      per(int64(earlier.CPU.Usage), int64(later.CPU.Usage)) / float64(time.Second),
		DiskRead:  per(earlier.Disk.ReadBytes, later.Disk.ReadBytes),
		DiskWrite: per(earlier.Disk.WriteBytes, later.Disk.WriteBytes),
	}
	for _, now := range later.Network {
		for _, before := range earlier.Network {
			if before.Endpoint == now.Endpoint {
				r.NetReceive += per(before.ReceiveBytes, now.ReceiveBytes)
				r.NetTransmit += per(before.TransmitBytes, now.TransmitBytes)
			}
		}
	}
	return r, true
}
