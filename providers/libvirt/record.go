package libvirt

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/logfile"
	"github.com/univirt/univirt/internal/supervise"
	"github.com/univirt/univirt/resource"
)

// The elements of a domain's metadata that are ours, each with its prefix and
// namespace. They are apart so that one is never lost to a change of another made
// at the same time. A record of another release's form has another namespace.
var (
	metaRecord = element{"univirt", "https://univirt.io/xmlns/instance/1"}
	metaRun    = element{"univirt-run", "https://univirt.io/xmlns/run/1"}
	metaExit   = element{"univirt-exit", "https://univirt.io/xmlns/exit/1"}
	metaStop   = element{"univirt-stop", "https://univirt.io/xmlns/stop/1"}
	metaReset  = element{"univirt-reset", "https://univirt.io/xmlns/reset/1"}
	metaFound  = element{"univirt-found", "https://univirt.io/xmlns/found/1"}
)

// metaPrefix begins the namespaces of all releases' records.
const metaPrefix = "https://univirt.io/xmlns/instance/"

// element is the place of a document in the metadata.
type element struct{ prefix, space string }

// record is what an instance is.
type record struct {
	Name      string         `json:"name"`
	Namespace string         `json:"namespace"`
	Owner     resource.Owner `json:"owner,omitzero"`
	// Home is the folder for state of the value that made it.
	Home     string    `json:"home,omitempty"`
	Created  time.Time `json:"created"`
	Revision int       `json:"revision"`
	// Doc is the spec in its canonical form.
	Doc json.RawMessage `json:"spec"`
	// Nets are the networks that the instance is on, in the order of its spec.
	Nets []netUse `json:"nets,omitempty"`
	// Disks are those that the instance has of its own; nil where it has none.
	Disks *diskRecord `json:"disks,omitempty"`
	// LiveRun is the run that has the resources Live, because a change of the
	// spec's waits for the next one.
	LiveRun int                `json:"liveRun,omitempty"`
	Live    *compute.Resources `json:"live,omitempty"`
	// Idle is how many processors of the run LiveRun its guest has put away, or has
	// not brought up. None is taken from the machine: see cpusWait. A guest that boots
	// anew uses them all, which whoever hears of it writes down.
	Idle int `json:"idle,omitempty"`
	// Volumes are the IDs of the volumes at the paths of mounts.
	Volumes map[string]string `json:"volumes,omitempty"`

	spec compute.Spec
	// volumes are those for a domain that is about to be made.
	volumes []volumeDisk
}

// runRecord is the last run that was begun.
type runRecord struct {
	Run     int       `json:"run"`
	Started time.Time `json:"started"`
	// Continued says that the guest was not booted: it goes on as it was kept.
	Continued bool `json:"continued,omitempty"`
	// Restarts is how many restarts in a row led to the run; 0 for one that a Start
	// began.
	Restarts int `json:"restarts,omitempty"`
	// Consoles are where the output of the last runs begins, the oldest first.
	Consoles []consoleMark `json:"consoles,omitempty"`
}

// consoleMark is where in a console's output that of a run begins.
type consoleMark struct {
	Run int `json:"run"`
	// Identity is that of the file; the zero value where there was none yet.
	logfile.Identity
	Offset int64 `json:"offset"`
}

// begun adds a run to those whose output can be told apart.
func begun(marks []consoleMark, m consoleMark) []consoleMark {
	marks = slices.Concat(marks, []consoleMark{m})
	return marks[max(0, len(marks)-mostMarks):]
}

// mostMarks is of how many runs the output can be told apart.
const mostMarks = 16

// exitRecord is how the last run that is over ended.
type exitRecord struct {
	Run      int       `json:"run"`
	Known    bool      `json:"known"`
	Code     int       `json:"code,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// Again says that the policy of that time wanted another run to follow.
	Again bool `json:"again,omitempty"`
}

// stopRecord is the last run that a Stop was about to end, of an instance with a
// policy for restarts. No other follows it, however it ends.
type stopRecord struct {
	Run int `json:"run"`
}

// resetRecord is how often a run was reset, of an instance with probes.
type resetRecord struct {
	Run    int `json:"run"`
	Resets int `json:"resets"`
}

// foundRecord is what the supervisor has found out about a run since so many resets.
type foundRecord struct {
	Run    int `json:"run"`
	Resets int `json:"resets,omitempty"`
	supervise.Findings
}

// with returns the record with another spec.
func (r record) with(spec compute.Spec) (record, error) {
	doc, err := compute.Encode(spec)
	r.spec, r.Doc = spec, doc
	return r, err
}

// body returns the content of the element as libvirt wants it set: without its
// namespace, which libvirt adds.
func (e element) body(v any) (string, error) {
	doc, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("<doc>")
	if err := xml.EscapeText(&b, ascii(doc)); err != nil {
		return "", err
	}
	b.WriteString("</doc>")
	return b.String(), nil
}

// whole returns the element as it stands in a domain's metadata.
func (e element) whole(v any) (string, error) {
	body, err := e.body(v)
	if err != nil {
		return "", err
	}
	name := e.prefix + ":doc"
	return "<" + name + ` xmlns:` + e.prefix + `="` + e.space + `">` + strings.TrimSuffix(strings.TrimPrefix(body, "<doc>"), "</doc>") + "</" + name + ">", nil
}

// ascii writes a JSON document without any byte that XML could not carry: not
// all of Unicode may stand in an XML document.
func ascii(doc []byte) []byte {
	if !bytes.ContainsFunc(doc, func(c rune) bool { return c >= utf8.RuneSelf }) {
		return doc
	}
	var b bytes.Buffer
	for _, c := range string(doc) {
		switch {
		case c < utf8.RuneSelf:
			b.WriteByte(byte(c))
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.Bytes()
}

// facts are what the description of a domain says of an instance.
type facts struct {
	name, uuid string
	record     *record // nil: not made by this module
	run        runRecord
	exit       *exitRecord
	stop       stopRecord
	reset      resetRecord
	found      foundRecord
	// active says that the description is of a machine that runs.
	active bool
	// fault says why the record could not be read. Such an instance can be looked at,
	// stopped and, by force, deleted.
	fault error
}

// readFacts reads a domain's description as far as its metadata, which stands in
// front of what is long.
func readFacts(description string) (*facts, error) {
	var f facts
	decoder := xml.NewDecoder(strings.NewReader(description))
	depth := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return &f, nil
		}
		if err != nil {
			return nil, resource.Errorf(errdefs.ErrDataLoss, "the domain's description cannot be read: %w", err)
		}
		switch t := token.(type) {
		case xml.EndElement:
			depth--
		case xml.StartElement:
			depth++
			switch {
			case depth == 1:
				f.active = slices.ContainsFunc(t.Attr, func(a xml.Attr) bool { return a.Name.Space == "" && a.Name.Local == "id" })
			case depth == 2 && t.Name.Local == "name":
				err = decoder.DecodeElement(&f.name, &t)
				depth--
			case depth == 2 && t.Name.Local == "uuid":
				err = decoder.DecodeElement(&f.uuid, &t)
				depth--
			case depth == 2 && (t.Name.Local == "memory" || t.Name.Local == "devices"):
				return &f, nil
			case depth == 3 && t.Name.Local == "doc":
				var doc string
				if err = decoder.DecodeElement(&doc, &t); err == nil {
					f.take(t.Name.Space, doc)
				}
				depth--
			}
			if err != nil {
				return nil, resource.Errorf(errdefs.ErrDataLoss, "the domain's description cannot be read: %w", err)
			}
		}
	}
}

// take reads one document of the metadata.
func (f *facts) take(space, doc string) {
	switch {
	case space == metaRecord.space:
		var r record
		err := json.Unmarshal([]byte(doc), &r)
		if err == nil {
			r.spec, err = compute.Decode(r.Doc)
		}
		if err != nil {
			f.fault = resource.Errorf(errdefs.ErrDataLoss, "the record of domain %s cannot be read: %w", f.uuid, err)
			return
		}
		f.record = &r
	case strings.HasPrefix(space, metaPrefix):
		f.fault = resource.Errorf(errdefs.ErrFailedPrecondition, "the instance was made by another release: its record is %s, this one reads %s",
			resource.Quote(space), metaRecord.space)
	case space == metaRun.space:
		// What cannot be read is taken for what was not written: the record of the
		// instance is what matters.
		_ = json.Unmarshal([]byte(doc), &f.run)
	case space == metaExit.space:
		var e exitRecord
		if json.Unmarshal([]byte(doc), &e) == nil {
			f.exit = &e
		}
	case space == metaStop.space:
		_ = json.Unmarshal([]byte(doc), &f.stop)
	case space == metaReset.space:
		_ = json.Unmarshal([]byte(doc), &f.reset)
	case space == metaFound.space:
		_ = json.Unmarshal([]byte(doc), &f.found)
	}
}

// domainName is the name of an instance's domain. Neither part has a dot.
func domainName(namespace, name string) string { return namespace + "." + name }
