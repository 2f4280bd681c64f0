package resource_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const text = "hunter2"
	secret := resource.NewSecret(text)
	type exported struct {
		Secret  resource.Secret
		Pointer *resource.Secret
		List    []resource.Secret
		Map     map[string]resource.Secret
	}
	type hidden struct {
		secret  resource.Secret
		pointer *resource.Secret
		list    []resource.Secret
	}
	values := map[string]any{
		"secret":   secret,
		"pointer":  &secret,
		"exported": exported{secret, &secret, []resource.Secret{secret}, map[string]resource.Secret{"a": secret}},
		"hidden":   hidden{secret, &secret, []resource.Secret{secret}},
		"array":    [1]resource.Secret{secret},
		"key":      map[resource.Secret]int{secret: 1},
	}
	for name, value := range values {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%10.3s", "%c"} {
				fmt.Fprintf(&out, verb+"\n", value)
			}
			fmt.Fprintln(&out, value)
			fmt.Fprintln(&out, fmt.Errorf("failed: %v", value))
			out.WriteString(resource.Quote(fmt.Sprint(value)))
			for _, handler := range []slog.Handler{
				slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil),
			} {
				slog.New(handler).Info("message", "value", value, slog.Group("group", "value", value))
			}
			for _, encode := range []func(any) ([]byte, error){
				json.Marshal,
				xml.Marshal,
				func(v any) ([]byte, error) {
					var b bytes.Buffer
					err := gob.NewEncoder(&b).Encode(v)
					return b.Bytes(), err
				},
			} {
				data, err := encode(value)
				out.Write(data)
				fmt.Fprintln(&out, err)
			}
			require.NoError(t, template.Must(template.New("").Parse("{{.}} {{printf `%v` .}}")).Execute(&out, value))

			assert.NotContains(t, out.String(), text)
			assert.NotContains(t, out.String(), fmt.Sprintf("%x", text))
			assert.NotContains(t, out.String(), fmt.Sprintf("%X", text))
			assert.NotContains(t, out.String(), fmt.Sprintf("%d", []byte(text)))
		})
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%c"} {
		assert.Equal(t, "[redacted]", fmt.Sprintf(verb, secret), verb)
	}
	assert.Equal(t, "[redacted]", secret.String())
	assert.Equal(t, "resource.Secret{[redacted]}", secret.GoString())
}

func TestSecretIsNotInErrors(t *testing.T) {
	err := resource.Fail("pull", web, fmt.Errorf("credentials %v: %w", resource.NewSecret("hunter2"), errors.New("refused")))
	assert.EqualError(t, err, `pull instance "web": credentials [redacted]: refused`)
}

func TestSecret(t *testing.T) {
	secret := resource.NewSecret("hunter2")
	assert.Equal(t, "hunter2", secret.Reveal())
	assert.False(t, secret.IsZero())
	assert.False(t, secret.Redacted())
	assert.Equal(t, secret, resource.NewSecret("hunter"+string('2')))
	assert.True(t, secret == resource.NewSecret("hunter2"), "secrets are comparable")
	assert.False(t, secret == resource.NewSecret("hunter3"))

	for _, zero := range []resource.Secret{{}, resource.NewSecret("")} {
		assert.True(t, zero.IsZero())
		assert.Empty(t, zero.Reveal())
		assert.False(t, zero.Redacted())
	}
}

func TestSecretText(t *testing.T) {
	var read resource.Secret
	require.NoError(t, read.UnmarshalText([]byte("hunter2")))
	assert.Equal(t, resource.NewSecret("hunter2"), read, "a secret is given by its text")

	text, err := read.MarshalText()
	require.NoError(t, err)
	require.NoError(t, read.UnmarshalText(text))
	assert.True(t, read.Redacted(), "what was written is a placeholder")
	assert.Empty(t, read.Reveal())
	assert.False(t, read.IsZero())
	assert.NotEqual(t, resource.NewSecret("hunter2"), read)

	require.NoError(t, read.UnmarshalText(nil))
	assert.True(t, read.IsZero())
}
