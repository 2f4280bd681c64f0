//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheCacheForgetsWhatChangesWhileItIsRead(t *testing.T) {
	a, b := &domain{id: "a"}, &domain{id: "b"}
	for name, c := range map[string]struct {
		meanwhile      func(*cache)
		known, unknown int
		ok             bool
	}{
		"nothing":               {func(*cache) {}, 2, 0, true},
		"one changes":           {func(c *cache) { c.changed("a") }, 1, 1, true},
		"another is made":       {func(c *cache) { c.changed("c") }, 2, 1, true},
		"events are lost":       {func(c *cache) { c.lose() }, 0, 0, false},
		"lost and found":        {func(c *cache) { c.lose(); c.fill([]*domain{a}, c.now()) }, 1, 0, true},
		"changed and read anew": {func(c *cache) { c.changed("a"); c.put("a", a, c.now()) }, 2, 0, true},
	} {
		var k cache
		_, _, _, ok := k.all()
		assert.False(t, ok, "nothing is known at first")
		since := k.now()
		c.meanwhile(&k)
		k.fill([]*domain{a, b}, since)
		known, unknown, _, ok := k.all()
		assert.Equal(t, c.ok, ok, name)
		assert.Len(t, known, c.known, name)
		assert.Len(t, unknown, c.unknown, name)
	}
}

func TestTheCacheDropsWhatIsGone(t *testing.T) {
	var c cache
	c.fill([]*domain{{id: "a"}, {id: "b"}}, c.now())
	c.changed("a")
	_, unknown, since, _ := c.all()
	assert.Equal(t, []string{"a"}, unknown)
	c.put("a", nil, since)
	known, unknown, _, ok := c.all()
	assert.True(t, ok)
	assert.Len(t, known, 1)
	assert.Empty(t, unknown)

	c.changed("a")
	_, _, since, _ = c.all()
	c.changed("a") // made again while it is read
	c.put("a", nil, since)
	_, unknown, _, _ = c.all()
	assert.Equal(t, []string{"a"}, unknown)

	since = c.now()
	c.fill(nil, since)
	known, unknown, _, ok = c.all()
	assert.True(t, ok)
	assert.Empty(t, known)
	assert.Empty(t, unknown)
}
