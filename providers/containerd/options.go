package containerd

import (
	"context"
	"log/slog"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
)

const (
	// Scheme is the provider's URL scheme, and its name in references.
	Scheme = "containerd"
	// DefaultAddress is the socket of the system's containerd.
	DefaultAddress = "/run/containerd/containerd.sock"

	defaultNamespace   = "default"
	namespacePrefix    = "univirt-"
	defaultSnapshotter = "overlayfs"
	defaultRuntime     = "io.containerd.runc.v2"
	defaultStateRoot   = "/var/lib/univirt/containerd"
	defaultConnect     = 10 * time.Second
)

// Options say which containerd to use and how. The zero value is the system's
// containerd and the namespace "default".
type Options struct {
	// Address is the path of containerd's socket; empty means DefaultAddress. It
	// must be empty where Managed is set.
	Address string
	// Managed starts, or adopts, a private containerd instead.
	Managed *Managed
	// Namespace is a DNS label; empty means "default". It is the namespace
	// "univirt-" + Namespace of containerd.
	Namespace string
	// Owner is the program's name for resource.Owner: at most 63 letters, digits,
	// '-', '_' and '.', or empty.
	Owner string
	// StateDir is the absolute path of the folder for logs, locks and the helper
	// program. Empty means the one that the namespace was first used with, for a
	// new namespace a folder below /var/lib/univirt/containerd, or in the folder
	// of a managed daemon. Another than the namespace's is FailedPrecondition.
	StateDir string
	// Snapshotter is where root filesystems live; empty means the one that the
	// namespace was first used with, for a new namespace "overlayfs". Another than
	// the namespace's is FailedPrecondition.
	Snapshotter string
	// Runtime is the name of the runtime of new instances; empty means
	// "io.containerd.runc.v2".
	Runtime string
	// ConnectTimeout bounds how long New waits for an answer, and each attempt to
	// connect again later; 0 means 10 s.
	ConnectTimeout time.Duration
	// CallTimeout bounds each call to containerd that is not meant to wait, beside
	// the caller's context; past it the error is Unavailable. 0 means no bound.
	CallTimeout time.Duration
	// LogSize bounds the output kept of each run, in bytes, and LogFiles the
	// number of files it is split into; 0 means 16 MiB each and 4.
	LogSize  int64
	LogFiles int
	// Supervise has this value act on the restart policies, health checks and readiness
	// probes of the namespace's instances while it is open. Of several on one host one
	// does, and another takes over when that is closed or its process dies.
	Supervise bool
	// Logger gets what the provider has to say that no error can carry; nil
	// discards it.
	Logger *slog.Logger

	// dial are further options of the connection, of tests.
	dial []grpc.DialOption
}

// Managed says where a private containerd lives.
type Managed struct {
	// Dir is the absolute path of its folder, at most 93 bytes: root, state,
	// socket and the provider's own state. It is made where it is absent, and must
	// otherwise have been made by this package. It stays at Close; Remove removes it.
	// Required.
	Dir string
	// Binary is the path of the containerd program; empty means the one in PATH.
	Binary string
	// Leave keeps the daemon running at Close. Otherwise the last of its users
	// shuts it down; containers run on in either case.
	Leave bool
	// StartTimeout bounds the wait for the daemon to answer; 0 means 30 s.
	StartTimeout time.Duration
}

// normalise fills in what is empty and has a fixed default, and reports every
// fault, in the order of the fields.
func (o Options) normalise() (Options, resource.Faults) {
	var f resource.Faults
	if o.Managed != nil {
		m := *o.Managed
		o.Managed = &m
		if o.Address != "" {
			f.Add("address", "must be empty where managed is set")
		}
		checkPath(&f, "managed.dir", m.Dir)
		if m.Binary != "" {
			checkPath(&f, "managed.binary", m.Binary)
		}
		if m.StartTimeout < 0 {
			f.Add("managed.startTimeout", "must not be negative")
		}
	} else {
		if o.Address == "" {
			o.Address = DefaultAddress
		}
		checkPath(&f, "address", o.Address)
	}
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	f.AddReason("namespace", resource.CheckNamespace(o.Namespace))
	f.AddReason("owner", resource.CheckLabelValue(o.Owner))
	if o.StateDir != "" {
		checkPath(&f, "stateDir", o.StateDir)
	}
	if o.Snapshotter != "" {
		f.AddReason("snapshotter", checkIdentifier(o.Snapshotter))
	}
	if o.Runtime == "" {
		o.Runtime = defaultRuntime
	}
	f.AddReason("runtime", checkIdentifier(o.Runtime))
	if o.ConnectTimeout < 0 {
		f.Add("connectTimeout", "must not be negative")
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = defaultConnect
	}
	if o.CallTimeout < 0 {
		f.Add("callTimeout", "must not be negative")
	}
	if o.LogSize < 0 {
		f.Add("logSize", "must not be negative")
	}
	if o.LogFiles < 0 {
		f.Add("logFiles", "must not be negative")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, f
}

func checkPath(f *resource.Faults, field, path string) {
	switch {
	case path == "":
		f.Add(field, "is required")
	case !filepath.IsAbs(path) || filepath.Clean(path) != path:
		f.Add(field, "must be an absolute path without \".\", \"..\" and doubled slashes")
	}
	for _, c := range path {
		if c < ' ' || c == 0x7f {
			f.Add(field, "must not have control characters")
			break
		}
	}
}

// checkIdentifier says what is wrong with one of containerd's identifiers: up to
// 76 letters and digits, with single '.', '_' or '-' between them.
func checkIdentifier(s string) string {
	const most = 76
	if s == "" || len(s) > most {
		return "must have 1 to " + strconv.Itoa(most) + " bytes"
	}
	separated := true
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			separated = false
		case (c == '.' || c == '_' || c == '-') && !separated:
			separated = true
		default:
			return "must consist of letters and digits with single '.', '_' or '-' between them"
		}
	}
	if separated {
		return "must end with a letter or a digit"
	}
	return ""
}

func init() {
	univirt.Register(Scheme, func(ctx context.Context, u *url.URL) (univirt.Provider, error) {
		opts, err := parseURL(u)
		if err != nil {
			return nil, err
		}
		return New(ctx, opts)
	})
}

// parseURL reads the options that a URL can hold.
func parseURL(u *url.URL) (Options, error) {
	values, err := univirt.Parameters(u, "managed", "leave", "binary", "namespace", "owner", "state", "snapshotter", "runtime", "supervise")
	faults := resource.FaultsOf(err)
	if u.Scheme != Scheme {
		faults.Add("url.scheme", "must be %q", Scheme)
	}
	if u.Host != "" || u.User != nil {
		faults.Add("url.host", "must be empty, as in %s://%s", Scheme, DefaultAddress)
	}
	if u.Opaque != "" {
		faults.Add("url.path", "must begin with '/', and parameters with '?', as in %s:?managed=/dir", Scheme)
	}
	opts := Options{
		Address:     u.Path,
		Namespace:   values["namespace"],
		Owner:       values["owner"],
		StateDir:    values["state"],
		Snapshotter: values["snapshotter"],
		Runtime:     values["runtime"],
	}
	if dir, ok := values["managed"]; ok {
		opts.Managed = &Managed{Dir: dir, Binary: values["binary"]}
	}
	for _, name := range []string{"binary", "leave"} {
		if _, ok := values[name]; ok && opts.Managed == nil {
			faults.Add("url.query["+name+"]", "needs managed")
		}
	}
	if text, ok := values["supervise"]; ok {
		if opts.Supervise, err = strconv.ParseBool(text); err != nil {
			faults.Add("url.query[supervise]", "must be true or false")
		}
	}
	if text, ok := values["leave"]; ok && opts.Managed != nil {
		if opts.Managed.Leave, err = strconv.ParseBool(text); err != nil {
			faults.Add("url.query[leave]", "must be true or false")
		}
	}
	return opts, faults.Err()
}
