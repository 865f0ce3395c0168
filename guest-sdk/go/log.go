package holdfast

import (
	"context"
	"log/slog"
	"slices"

	"holdfast.dev/holdfast/internal/contract"
)

// LevelTrace is a level below [slog.LevelDebug], which the host's log has.
const LevelTrace = slog.LevelDebug - 4

// logHandler writes what is logged with log/slog to the object's log; names in groups are joined with dots. It is the default in an
// object, of package log, too.
type logHandler struct {
	host contract.Host
	// fields were given to loggers made of this one, under the names of their groups.
	fields []contract.Field
	group  string
}

func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *logHandler) Handle(_ context.Context, record slog.Record) error {
	fields := slices.Clip(h.fields)
	record.Attrs(func(attr slog.Attr) bool {
		fields = appendFields(fields, h.group, attr)
		return true
	})
	h.host.Log(levelOf(record.Level), record.Message, fields)
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.fields = slices.Clip(h.fields)
	for _, attr := range attrs {
		with.fields = appendFields(with.fields, h.group, attr)
	}
	return &with
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.group += name + "."
	return &with
}

func appendFields(fields []contract.Field, group string, attr slog.Attr) []contract.Field {
	value := attr.Value.Resolve()
	switch {
	case attr.Equal(slog.Attr{}):
		return fields
	case value.Kind() != slog.KindGroup:
		return append(fields, contract.Field{Name: group + attr.Key, Value: value.String()})
	case attr.Key != "":
		group += attr.Key + "."
	}
	for _, inner := range value.Group() {
		fields = appendFields(fields, group, inner)
	}
	return fields
}

func levelOf(level slog.Level) contract.Level {
	switch {
	case level < slog.LevelDebug:
		return contract.Trace
	case level < slog.LevelInfo:
		return contract.Debug
	case level < slog.LevelWarn:
		return contract.Info
	case level < slog.LevelError:
		return contract.Warn
	default:
		return contract.Error
	}
}
