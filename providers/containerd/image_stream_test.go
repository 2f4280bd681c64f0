package containerd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := bytes.Repeat([]byte("0123456789"), 1_000_000)
		r, stop := readFrom(t.Context(), bytes.NewReader(data))
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, data, got)
		stop()

		// Given up in the middle.
		r, stop = readFrom(t.Context(), bytes.NewReader(data))
		_, err = io.CopyN(io.Discard, r, 10)
		require.NoError(t, err)
		stop()

		cause := errors.New("torn")
		r, stop = readFrom(t.Context(), io.MultiReader(bytes.NewReader(data), failing{cause}))
		_, err = io.Copy(io.Discard, r)
		assert.ErrorIs(t, err, cause)
		stop()

		// A reader that blocks is left behind, after the grace.
		b := blocking{make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		r, stop = readFrom(ctx, b)
		_, err = io.Copy(io.Discard, r)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		stop()
		assert.Equal(t, time.Hour+streamGrace, time.Since(begun))
		close(b.release)
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestWriteTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := bytes.Repeat([]byte("0123456789"), 1_000_000)
		var got bytes.Buffer
		w, finish := writeTo(t.Context(), &got)
		_, err := w.Write(data)
		require.NoError(t, err)
		require.NoError(t, finish())
		assert.Equal(t, data, got.Bytes())

		w, finish = writeTo(t.Context(), &full{10})
		_, err = w.Write(data)
		assert.ErrorIs(t, err, errFull)
		assert.ErrorIs(t, finish(), errFull)

		b := blocking{make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		w, finish = writeTo(ctx, b)
		_, err = w.Write(data)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, finish(), context.DeadlineExceeded)
		assert.Equal(t, time.Hour+streamGrace, time.Since(begun))
		close(b.release)
	})
}

func TestKeyLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k keyLocks
		require.NoError(t, k.Lock(t.Context(), "a"))
		require.NoError(t, k.Lock(t.Context(), "b"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, k.Lock(ctx, "a"), context.DeadlineExceeded)
		taken := make(chan struct{})
		go func() {
			assert.NoError(t, k.Lock(context.Background(), "a"))
			close(taken)
		}()
		synctest.Wait()
		select {
		case <-taken:
			t.Error("taken while held")
		default:
		}
		k.Unlock("a")
		<-taken
		k.Unlock("a")
		k.Unlock("b")
		assert.True(t, k.turns.Idle())
	})
}

func TestQueueGivesLowerLayersPrecedence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := library{}
		q := newQueue(nil, 2)
		assert.Empty(t, q.open)
		layers := parseLayers(l, 6)
		q = newQueue(layers, 2)
		var order []int
		begun := make(chan int, 6)
		release := make(chan struct{})
		lasts := make(chan bool, 6)
		for n := len(layers) - 1; n >= 0; n-- {
			go func() {
				last, err := q.do(context.Background(), layers[n].Digest, func() error {
					begun <- n
					<-release
					return nil
				})
				assert.NoError(t, err)
				lasts <- last
			}()
		}
		for range layers {
			synctest.Wait()
			assert.LessOrEqual(t, len(begun), 2)
			order = append(order, <-begun)
			release <- struct{}{}
		}
		for n, got := range order {
			assert.InDelta(t, n, got, 1)
		}
		count := 0
		for range layers {
			if <-lasts {
				count++
			}
		}
		assert.Equal(t, 1, count)
	})
}
