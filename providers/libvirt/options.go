package libvirt

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

const (
	// Scheme is the provider's URL scheme, and its name in references.
	Scheme = "libvirt"

	defaultNamespace = "default"
	defaultPool      = "univirt"
	defaultConnect   = 10 * time.Second
)

// Options say which hypervisor to use and how. The zero value is the local one
// and the namespace "default".
type Options struct {
	// URI is libvirt's connection URI (https://libvirt.org/uri.html); empty means
	// "qemu:///system" for root and "qemu:///session" for others.
	URI string
	// Managed starts, or adopts, a private libvirtd instead; URI must be empty then.
	Managed *Managed
	// Acceleration says how machines run; AccelerationAuto by default.
	Acceleration Acceleration
	// Namespace is a DNS label; empty means "default".
	Namespace string
	// Owner is the program's name for resource.Owner: at most 63 letters, digits,
	// '-', '_' and '.', or empty.
	Owner string
	// StateDir is the absolute path of a folder of this host for locks, by which
	// processes of one host do not disturb each other's changes; all that use one
	// hypervisor should have the same. Empty means /var/lib/univirt/libvirt for root
	// and univirt/libvirt in the user's folder for state for others, or a folder in
	// that of a managed daemon. It is made where it is absent.
	StateDir string
	// ConsoleDir is the absolute path of a folder of the hypervisor's host for what
	// guests write to their consoles, which must exist; empty keeps none, but for a
	// managed daemon, which has a folder for it.
	ConsoleDir string
	// Pool is the name of the storage pool, a DNS label, for what is kept on disks:
	// records, images, volumes. Its type must be dir, fs or netfs. Empty means
	// "univirt". Where there is none of that name, a folder becomes one, when it is
	// first needed, beside the disks of libvirt's own default pool.
	Pool string
	// Supervise has this value act on the restart policies, health checks and readiness
	// probes of the namespace's instances while it is open. Of several on one host one
	// does, and another takes over when that is closed or its process dies.
	Supervise bool
	// OtherNetworks are networks of other values, also other providers', on the
	// hypervisor's host: endpoints that were reserved there may be plugged in, see "Other
	// providers' networks" in the package's documentation. Where one has been closed, what
	// is known from the instances' records is told. This value closes none. Empty means
	// none; none may be nil.
	OtherNetworks []network.Networks
	// ConnectTimeout bounds how long New waits for an answer; 0 means 10 s.
	ConnectTimeout time.Duration
	// Logger gets what the provider has to say that no error can carry; nil
	// discards it.
	Logger *slog.Logger
}

// Managed says where a private libvirtd lives.
type Managed struct {
	// Dir is the absolute path of its folder, at most 87 bytes: configuration, state,
	// sockets, disks and the provider's own state. It is made where it is absent, and
	// must otherwise have been made by this package. It stays at Close; Remove removes
	// it. Required.
	Dir string
	// Binary is the path of the libvirtd program; empty means the first that is found
	// in PATH, then in the usual folders.
	Binary string
	// Leave keeps the daemon running at Close. Otherwise the last of its users shuts
	// it down; machines run on in either case.
	Leave bool
	// PrivateNetwork gives the daemon and its machines a network of their own, with
	// nothing but loopback in it. It counts where the daemon is started, not where one
	// is adopted.
	PrivateNetwork bool
	// StartTimeout bounds the wait for the daemon to answer; 0 means 30 s.
	StartTimeout time.Duration
}

// Acceleration says how virtual machines run.
type Acceleration string

// The kinds of acceleration.
const (
	// AccelerationAuto takes KVM where it is of use: on this host that is tried, as a
	// host that is itself a guest may offer a KVM that crawls; another host is
	// believed. The default.
	AccelerationAuto Acceleration = ""
	// AccelerationKVM takes KVM, or fails to open.
	AccelerationKVM Acceleration = "kvm"
	// AccelerationNone emulates: "TCG" in QEMU's words.
	AccelerationNone Acceleration = "none"
)

// normalise fills in what is empty and has a fixed default, and reports every
// fault.
func (o Options) normalise() (Options, resource.Faults) {
	var f resource.Faults
	if m := o.Managed; m != nil {
		if o.URI != "" {
			f.Add("uri", "must be empty where managed is set")
		}
		o.URI = managedURI
		checkPath(&f, "managed.dir", m.Dir)
		if m.Binary != "" {
			checkPath(&f, "managed.binary", m.Binary)
		}
		if m.StartTimeout < 0 {
			f.Add("managed.startTimeout", "must not be negative")
		}
	}
	if o.URI == "" {
		o.URI = localURI(os.Geteuid())
	}
	switch o.Acceleration {
	case AccelerationAuto, AccelerationKVM, AccelerationNone:
	default:
		f.Add("acceleration", "must be %q, %q or empty", AccelerationKVM, AccelerationNone)
	}
	if u, err := url.Parse(o.URI); err != nil || u.Scheme == "" {
		f.Add("uri", "must be a connection URI of libvirt, such as qemu:///system")
	} else if strings.HasSuffix(u.Scheme, "+libssh") {
		// Seen with the client library of 9.0.0, in virDomainGetState.
		f.Add("uri", "must not have the transport libssh, with which libvirt's client library crashes: take ssh or libssh2")
	}
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	f.AddReason("namespace", resource.CheckNamespace(o.Namespace))
	if o.Pool == "" {
		o.Pool = defaultPool
	}
	f.AddReason("pool", resource.CheckName(o.Pool))
	f.AddReason("owner", resource.CheckLabelValue(o.Owner))
	switch {
	case o.StateDir != "":
		checkPath(&f, "stateDir", o.StateDir)
	case o.Managed != nil:
		o.StateDir = filepath.Join(o.Managed.Dir, "univirt")
	default:
		o.StateDir = defaultState(os.Geteuid())
	}
	if o.ConsoleDir != "" {
		checkPath(&f, "consoleDir", o.ConsoleDir)
	}
	for n, other := range o.OtherNetworks {
		if other == nil {
			f.Add(fmt.Sprintf("otherNetworks[%d]", n), "must not be nil")
		}
	}
	if o.ConnectTimeout < 0 {
		f.Add("connectTimeout", "must not be negative")
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = defaultConnect
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, f
}

// managedURI stands for that of a managed daemon, which is known when it runs.
const managedURI = "qemu:///system"

func localURI(user int) string {
	if user == 0 {
		return "qemu:///system"
	}
	return "qemu:///session"
}

// defaultState is the folder for state of this host's users, which the XDG Base
// Directory Specification names.
func defaultState(user int) string {
	if user == 0 {
		return "/var/lib/univirt/libvirt"
	}
	root := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(root) {
		root = filepath.Join(os.Getenv("HOME"), ".local", "state")
	}
	return filepath.Join(root, "univirt", "libvirt")
}

func checkPath(f *resource.Faults, field, path string) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		f.Add(field, "must be an absolute path without \".\", \"..\" and doubled slashes")
	}
	if strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		f.Add(field, "must not have control characters")
	}
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

// passed are the parameters of a URL that libvirt reads.
var passed = []string{"socket", "keyfile", "command", "no_verify", "no_tty", "pkipath", "sshauth", "known_hosts", "known_hosts_verify", "tls_priority"}

// parseURL reads the options that a URL can hold.
func parseURL(u *url.URL) (Options, error) {
	values, err := univirt.Parameters(u, append([]string{"managed", "leave", "private", "binary", "acceleration", "namespace", "owner", "state", "console", "pool", "supervise"}, passed...)...)
	faults := resource.FaultsOf(err)
	opts := Options{Namespace: values["namespace"], Owner: values["owner"], StateDir: values["state"], ConsoleDir: values["console"], Pool: values["pool"]}
	opts.Acceleration = Acceleration(values["acceleration"])
	if dir, ok := values["managed"]; ok {
		opts.Managed = &Managed{Dir: dir, Binary: values["binary"]}
	}
	for _, name := range []string{"binary", "leave", "private"} {
		if _, ok := values[name]; ok && opts.Managed == nil {
			faults.Add("url.query["+name+"]", "needs managed")
		}
	}
	if m := opts.Managed; m != nil {
		for name, to := range map[string]*bool{"leave": &m.Leave, "private": &m.PrivateNetwork} {
			text, ok := values[name]
			if !ok {
				continue
			}
			if *to, err = strconv.ParseBool(text); err != nil {
				faults.Add("url.query["+name+"]", "must be true or false")
			}
		}
	}
	if text, ok := values["supervise"]; ok {
		if opts.Supervise, err = strconv.ParseBool(text); err != nil {
			faults.Add("url.query[supervise]", "must be true or false")
		}
	}
	own := url.Values{}
	for name, value := range values {
		if slices.Contains(passed, name) {
			own.Set(name, value)
		}
	}
	base, transport, _ := strings.Cut(u.Scheme, "+")
	if base != Scheme {
		faults.Add("url.scheme", "must be %q", Scheme)
	}
	if _, secret := u.User.Password(); secret {
		faults.Add("url.user", "must have no password: libvirt takes none from a URI")
	}
	switch transport {
	case "", "ssh", "tls", "tcp", "unix", "libssh", "libssh2":
	default:
		faults.Add("url.scheme", "has an unknown transport %s", resource.Quote(transport))
	}
	target := url.URL{Scheme: "qemu", User: u.User, Host: u.Host, Path: u.Path}
	switch {
	case u.Opaque != "":
		if transport != "" {
			faults.Add("url.scheme", "must have no transport in front of a URI of libvirt's")
		}
		inner, err := url.Parse(u.Opaque)
		if err != nil || inner.Scheme == "" {
			faults.Add("url.opaque", "must be a connection URI of libvirt, as in libvirt:test:///default")
			return opts, faults.Err()
		}
		target = *inner
	case u.Host == "" && u.Path == "" && transport == "":
		// The local default, unless a parameter makes a URI necessary.
		if len(own) == 0 || opts.Managed != nil {
			return opts, faults.Err()
		}
		target.Path = "/" + strings.TrimPrefix(localURI(os.Geteuid()), "qemu:///")
	case u.Path != "/system" && u.Path != "/session":
		faults.Add("url.path", "must be /system or /session")
	case u.Host == "" && transport != "" && transport != "unix":
		faults.Add("url.host", "is required with the transport %s", transport)
	case u.Host != "" && transport == "":
		faults.Add("url.scheme", "needs a transport to reach another host, as in libvirt+ssh://%s%s", u.Host, u.Path)
	}
	if transport != "" && target.Scheme == "qemu" {
		target.Scheme += "+" + transport
	}
	target.RawQuery = own.Encode()
	opts.URI = target.String()
	if target.Host == "" && u.Opaque == "" {
		// url.URL leaves out the slashes of an empty host.
		opts.URI = target.Scheme + "://" + strings.TrimPrefix(strings.TrimPrefix(opts.URI, target.Scheme+":"), "//")
	}
	return opts, faults.Err()
}
