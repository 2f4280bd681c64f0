package containerd

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

const (
	// extension is where a container keeps its record.
	extension = "univirt.io/instance"
	// recordType names the record's form. It stands for the version, too: a record
	// of another type is another release's.
	recordType = "univirt.io/instance/v1"
)

// record is what an instance is, as its container keeps it: a line of JSON, and
// one with the spec in its canonical form, so that neither is read twice. Labels
// are kept as labels of the container, so that containerd can select by them.
type record struct {
	Name  string         `json:"name"`
	Owner resource.Owner `json:"owner,omitzero"`
	// Image is the image's name and digest.
	Image   string `json:"image"`
	ImageID string `json:"imageID"`
	// Revision is a label of the container, and not written.
	Revision int `json:"-"`
	// LiveRun is the run that has the resources Live, because a change of the
	// spec's waits for the next one.
	LiveRun string             `json:"liveRun,omitempty"`
	Live    *compute.Resources `json:"live,omitempty"`

	// spec has the provider's choices. Its labels are not written.
	spec compute.Spec
}

// encode makes the extension of a container.
func (r record) encode() (typeurl.Any, error) {
	spec := r.spec
	spec.Labels = nil
	doc, err := compute.Encode(spec)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return &anypb.Any{TypeUrl: recordType, Value: slices.Concat(line, []byte("\n"), doc)}, nil
}

// live are the resources that a run has.
func (r *record) live(run string) compute.Resources {
	if r.Live != nil && r.LiveRun == run {
		return *r.Live
	}
	return r.spec.Resources
}

// readRecord reads the record of a container. It is nil for one that this module
// did not make.
func readRecord(c containers.Container) (*record, error) {
	any := c.Extensions[extension]
	if any == nil {
		return nil, nil
	}
	if any.GetTypeUrl() != recordType {
		return nil, resource.Errorf(errdefs.ErrFailedPrecondition, "the instance was made by another release: its record is %q, this one reads %q",
			any.GetTypeUrl(), recordType)
	}
	var r record
	line, doc, _ := bytes.Cut(any.GetValue(), []byte("\n"))
	err := json.Unmarshal(line, &r)
	if err == nil {
		r.spec, err = compute.Decode(doc)
	}
	if err != nil {
		return nil, resource.Errorf(errdefs.ErrDataLoss, "the record of container %s cannot be read: %w", c.ID, err)
	}
	r.takeLabels(c.Labels)
	return &r, nil
}

// takeLabels sets what is kept as labels.
func (r *record) takeLabels(labels map[string]string) {
	r.spec.Labels, r.Revision = userLabels(labels), readRevision(labels)
}

// readRevision reads the revision of a container's record. It is 0 for one that has
// none, and where somebody has removed it.
func readRevision(labels map[string]string) int {
	n, _ := strconv.ParseUint(labels[labelRevision], 10, 31)
	return int(n)
}

// exitRecord is the end of the last run that is over, as a label of its
// container: written by whoever ends a run's task, apart from the record, so that
// it is never lost to a change made at the same time.
type exitRecord struct {
	Run      string    `json:"run"`
	Runs     int       `json:"runs"`
	Known    bool      `json:"known"`
	Code     int       `json:"code,omitempty"`
	Signal   string    `json:"signal,omitempty"`
	OOM      bool      `json:"oom,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// PID was the run's main process; 0 where that is not known.
	PID uint32 `json:"pid,omitempty"`
	// Again says that the policy of that time wanted another run, and nobody had
	// asked for this end.
	Again bool `json:"again,omitempty"`
}

func (e exitRecord) exit() compute.Exit {
	return compute.Exit{Run: e.Run, Known: e.Known, Code: e.Code, Signal: e.Signal, OOM: e.OOM,
		Started: e.Started, Finished: e.Finished}
}

func (e exitRecord) encode() string {
	// It has no type that cannot be encoded.
	text, _ := json.Marshal(e)
	return string(text)
}

// lastExit reads the end of the last run that was recorded.
func lastExit(c containers.Container) (exitRecord, bool) {
	var e exitRecord
	text := c.Labels[labelExit]
	if text == "" || json.Unmarshal([]byte(text), &e) != nil {
		return exitRecord{}, false
	}
	return e, true
}
