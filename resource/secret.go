package resource

import (
	"fmt"
	"log/slog"
	"unique"
)

// Secret is text that must not appear in labels, messages, events, logs or
// plans: a password, a token, the content of a secret file. Every way of
// printing it shows a placeholder; [Secret.Reveal] gives the text itself. The
// zero value is the empty secret.
type Secret struct {
	// text is behind a pointer because package fmt prints the hidden fields of a
	// struct without asking their methods. The handle keeps secrets comparable.
	text unique.Handle[string]
	// lost says that only the placeholder is known.
	lost bool
}

const redacted = "[redacted]"

// NewSecret returns a secret that holds text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: unique.Make(text)}
}

// Reveal returns the text; it is empty where the secret was redacted.
func (s Secret) Reveal() string {
	if s.text == (unique.Handle[string]{}) {
		return ""
	}
	return s.text.Value()
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s == Secret{} }

// Redacted reports whether the secret was read from a document that did not
// hold its text. Validate of a spec refuses such a secret: it must be given
// again.
func (s Secret) Redacted() bool { return s.lost }

// String returns a placeholder.
func (s Secret) String() string { return redacted }

// GoString returns a placeholder.
func (s Secret) GoString() string { return "resource.Secret{" + redacted + "}" }

// Format writes a placeholder, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a placeholder, so that no encoder writes the text. A
// provider that must keep a secret writes Reveal into a place that root alone
// can read.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText sets the secret's text; the placeholder makes it a redacted one.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == redacted {
		*s = Secret{lost: true}
		return nil
	}
	*s = NewSecret(string(text))
	return nil
}
