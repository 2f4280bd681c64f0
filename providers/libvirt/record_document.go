package libvirt

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// document is the record of something that libvirt has no place for: an image, a
// volume or a network.
type document struct {
	Kind      resource.Kind  `json:"kind"`
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	ID        string         `json:"id"`
	Owner     resource.Owner `json:"owner,omitzero"`
	// Home is the ID of the folder for state of who made it, or has a phase of it in
	// hand.
	Home    string    `json:"home,omitempty"`
	Created time.Time `json:"created"`
	// Revision counts from 1 with every change.
	Revision int `json:"revision"`
	// Marks are of the last revisions, the newest last: what tells a revision that was
	// made of another from one that was made beside it.
	Marks []string `json:"marks,omitempty"`
	Phase phase    `json:"phase,omitempty"`
	// Maker is the generation that sees a phase through, at most until Until.
	Maker string    `json:"maker,omitempty"`
	Until time.Time `json:"until,omitzero"`
	// Spec is the spec in its canonical form.
	Spec json.RawMessage `json:"spec,omitempty"`
	// More is what the kind keeps beside its spec.
	More json.RawMessage `json:"more,omitempty"`

	// fault says why the document could not be read. Only what its name says is
	// known then.
	fault error
}

// phase is what is under way with what a document is about.
type phase string

const (
	// finished is what may be used.
	finished phase = ""
	// making is what is not there yet, and is nobody's to see.
	making phase = "making"
	// filling is what gets other content.
	filling phase = "filling"
	// removing is what may be gone in parts, and is nobody's to see.
	removing phase = "removing"
)

// begun returns the document with a phase that its maker has some time for.
func (d document) begun(what phase, maker string, within time.Duration) document {
	d.Phase, d.Maker, d.Until = what, maker, time.Now().Add(within).UTC()
	return d
}

// ended returns the document with nothing under way.
func (d document) ended() document {
	d.Phase, d.Maker, d.Until = finished, "", time.Time{}
	return d
}

// next returns the document as its next revision.
func (d document) next() document {
	d.Revision++
	d.Marks = slices.Concat(d.Marks, []string{rand.Text()[:12]})
	d.Marks = d.Marks[max(0, len(d.Marks)-mostAncestors):]
	return d
}

// mostAncestors is how many revisions a document knows that it was made of.
const mostAncestors = 16

// follows reports whether the document was made of another, not long ago.
func (d document) follows(other document) bool {
	return len(other.Marks) > 0 && slices.Contains(d.Marks, other.Marks[len(other.Marks)-1])
}

// hidden reports whether nobody but its maker may see what the document is about.
func (d document) hidden() bool { return d.Phase == making || d.Phase == removing }

// ref names what the document is about.
func (d document) ref() resource.Ref {
	return resource.Ref{Provider: Scheme, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name, ID: d.ID}
}

// A document is a file of the pool: a line with its form, length and checksum, and
// the JSON. Its name is "KIND.NAMESPACE.KEY.ID.REVISION", of which the content
// never changes; each change is a file of its own. The file "KIND.NAMESPACE.KEY"
// beside it has the content of the first: who makes it has the name.
const (
	formPrefix = "univirt.io/record/"
	form       = formPrefix + "1"
	// mostDocument bounds what is read into memory.
	mostDocument = 4 << 20
)

var errTorn = errors.New("the record is not whole")

// encode returns the content of the document's file.
func (d document) encode() ([]byte, error) {
	body, err := json.Marshal(d)
	if err != nil {
		return nil, resource.Errorf(errdefs.ErrInvalidArgument, "%w", err)
	}
	sum := sha256.Sum256(body)
	data := append(fmt.Appendf(nil, "%s %d %s\n", form, len(body), hex.EncodeToString(sum[:])), body...)
	if len(data) > mostDocument {
		return nil, resource.Errorf(errdefs.ErrInvalidArgument, "the record would have %d bytes, the most are %d", len(data), mostDocument)
	}
	return data, nil
}

// decodeDocument reads a file's content. One that is not whole is errTorn, one of
// another release FailedPrecondition.
func decodeDocument(data []byte) (document, error) {
	head, body, ok := bytes.Cut(data, []byte("\n"))
	fields := strings.Fields(string(head))
	switch {
	case !ok || len(fields) == 0:
		return document{}, errTorn
	case strings.HasPrefix(fields[0], formPrefix) && fields[0] != form:
		return document{}, resource.Errorf(errdefs.ErrFailedPrecondition, "it was made by another release: its record is %s, this one reads %s", resource.Quote(fields[0]), form)
	case len(fields) != 3 || fields[0] != form || fields[1] != strconv.Itoa(len(body)):
		return document{}, errTorn
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != fields[2] {
		return document{}, errTorn
	}
	var d document
	if err := json.Unmarshal(body, &d); err != nil {
		return document{}, resource.Errorf(errdefs.ErrDataLoss, "the record cannot be read: %w", err)
	}
	return d, nil
}

// place is what the name of a document's file says. Its key is made of the name.
type place struct {
	kind           resource.Kind
	namespace, key string
	// id and revision are empty for the file that has the name.
	id       string
	revision int
}

// place returns where the document is.
func (d document) place() place {
	return place{kind: d.Kind, namespace: d.Namespace, key: keyOf(d.Name), id: d.ID, revision: d.Revision}
}

// keyOf is a name as it stands in a file's: as it is, or by its digest where it is
// no DNS label.
func keyOf(name string) string {
	if resource.CheckName(name) == "" {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "_" + hex.EncodeToString(sum[:])
}

// claim is the file that has the name.
func (p place) claim() string {
	return string(p.kind) + "." + p.namespace + "." + p.key
}

// file is the document's.
func (p place) file() string { return p.claim() + "." + p.id + "." + strconv.Itoa(p.revision) }

// parsePlace reads the name of a document's file, or of one that has a name. No
// other file is taken for one.
func parsePlace(file string) (place, bool) {
	parts := strings.Split(file, ".")
	if len(parts) != 3 && len(parts) != 5 {
		return place{}, false
	}
	p := place{kind: resource.Kind(parts[0]), namespace: parts[1], key: parts[2]}
	switch p.kind {
	case resource.KindImage, resource.KindVolume, resource.KindNetwork, resource.KindEndpoint:
	default:
		return place{}, false
	}
	if len(parts) == 5 {
		p.id = parts[3]
		n, err := strconv.Atoi(parts[4])
		if err != nil || n < 1 || !resource.IsID(p.id) {
			return place{}, false
		}
		p.revision = n
		return p, p.file() == file && resource.CheckNamespace(p.namespace) == ""
	}
	return p, p.claim() == file && resource.CheckNamespace(p.namespace) == ""
}

// draft is what the name of a file says that records are copied from: whose document it
// has, and who needs it for as long as that takes.
type draft struct{ id, home, maker string }

const draftSuffix = ".draft"

// file returns a name that no other draft has.
func (d draft) file() string {
	return strings.Join([]string{d.id, d.home, d.maker, resource.NewID()}, ".") + draftSuffix
}

func parseDraft(file string) (draft, bool) {
	name, ok := strings.CutSuffix(file, draftSuffix)
	parts := strings.Split(name, ".")
	if !ok || len(parts) != 4 || slices.ContainsFunc(parts, func(part string) bool { return !resource.IsID(part) }) {
		return draft{}, false
	}
	return draft{id: parts[0], home: parts[1], maker: parts[2]}, true
}

// at holds a document to the name of its file: nobody is taken for another.
func (d document) at(p place) (document, error) {
	if d.place() != p {
		return document{}, resource.Errorf(errdefs.ErrDataLoss, "the record of %s is of another", p.file())
	}
	return d, nil
}
