package containerd

import (
	"context"
	"io"
	"log/slog"

	containerdlog "github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// withLogger sends what containerd's client logs under the context to our own
// logger. The client takes its logger from the context, so that the program's
// global one is left alone.
func withLogger(ctx context.Context, to *slog.Logger) context.Context {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.AddHook(logHook{to})
	return containerdlog.WithLogger(ctx, logrus.NewEntry(l))
}

type logHook struct{ to *slog.Logger }

var logLevels = map[logrus.Level]slog.Level{
	logrus.PanicLevel: slog.LevelError,
	logrus.FatalLevel: slog.LevelError,
	logrus.ErrorLevel: slog.LevelError,
	logrus.WarnLevel:  slog.LevelWarn,
	logrus.InfoLevel:  slog.LevelInfo,
	logrus.DebugLevel: slog.LevelDebug,
	logrus.TraceLevel: slog.LevelDebug,
}

func (h logHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h logHook) Fire(e *logrus.Entry) error {
	attrs := make([]slog.Attr, 0, len(e.Data))
	for key, value := range e.Data {
		attrs = append(attrs, slog.Any(key, value))
	}
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	h.to.LogAttrs(ctx, logLevels[e.Level], e.Message, attrs...)
	return nil
}
