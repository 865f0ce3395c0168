package holdfast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"holdfast.dev/holdfast/internal/contract"
	"holdfast.dev/holdfast/internal/turn"
)

func TestErrorsAreFailures(t *testing.T) {
	refusal := refused(&contract.Refusal{Interface: contract.SQL, Case: "sqlite", Text: "no such table: t", A: 1})
	for want, err := range map[contract.Failure]error{
		{Code: "guest-error", Message: "oh"}:                                                  errors.New("oh"),
		{Code: "sold-out", Message: "no tea left"}:                                            Errorf("sold-out", "no %s left", "tea"),
		{Code: "busy", Message: "selling: later", Retryable: true}:                            fmt.Errorf("selling: %w", &Error{Code: "busy", Message: "later", Retryable: true}),
		{Code: "sql-error", Message: "reading: no such table: t (SQLite code 1)"}:             fmt.Errorf("reading: %w", refusal),
		{Code: "no-table", Message: "reading: no such table: t (SQLite code 1)"}:              Errorf("no-table", "reading: %w", refusal),
		{Code: "storage-error", Message: "the object's storage is full"}:                      refused(&contract.Refusal{Interface: contract.Storage, Case: "full"}),
		{Code: "websocket-error", Message: "5 bytes: at most 4 are allowed"}:                  refused(&contract.Refusal{Interface: contract.WebSockets, Case: "too-large", A: 5, B: 4}),
		{Code: "sql-error", Message: "the last statement takes 1 parameters and was given 2"}: refused(&contract.Refusal{Interface: contract.SQL, Case: "parameter-count", A: 1, B: 2}),
	} {
		failure := turn.Run(func() error { return err })
		if failure == nil || *failure != want {
			t.Errorf("%v: %+v", err, failure)
		}
	}
	if !errors.Is(Errorf("no-table", "reading: %w", refusal), ErrSQLite) {
		t.Error("Errorf wraps")
	}
	if failure := turn.Run(func() error { return nil }); failure != nil {
		t.Error(failure)
	}
}

type dropped struct{ times int }

func (d *dropped) Drop() { d.times++ }

func TestAPanicIsAFailureAndWhatWasOpenIsClosed(t *testing.T) {
	var logged logs
	before := slog.Default()
	slog.SetDefault(slog.New(&logHandler{host: &logged}))
	defer slog.SetDefault(before)

	open, closed := &dropped{}, &dropped{}
	failure := turn.Run(func() error {
		turn.Opened(open)
		turn.Opened(closed)
		turn.Drop(closed)
		var none map[string]int
		none["x"] = 1
		return nil
	})
	if want := (contract.Failure{Code: "panic", Message: "panic: assignment to entry in nil map"}); failure == nil || *failure != want {
		t.Fatal(failure)
	}
	if open.times != 1 || closed.times != 1 {
		t.Error(open, closed)
	}
	lines := strings.Split(logged.entries[0], "\n")
	if !strings.HasPrefix(lines[0], "4 panic: assignment to entry in nil map [{stack ") {
		t.Error(lines[0])
	}
	if !strings.Contains(lines[0], "TestAPanic") || !strings.Contains(lines[1], "turn_test.go:") {
		t.Errorf("the stack begins where it panicked: %q", lines)
	}
}

// logs is a host that only logs.
type logs struct {
	contract.Host
	entries []string
}

func (l *logs) Log(level contract.Level, message string, fields []contract.Field) {
	l.entries = append(l.entries, fmt.Sprint(level, " ", message, " ", fields))
}

func TestLogsKeepLevelsAndFields(t *testing.T) {
	var logged logs
	logger := slog.New(&logHandler{host: &logged})
	for _, level := range []slog.Level{LevelTrace, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		logger.Log(context.Background(), level, "m")
	}
	with := logger.With("a", 1).WithGroup("g")
	with.With("b", true).Info("n", "c", "x y", slog.Group("h", "d", 1.5))
	with.Info("o")
	want := []string{"0 m []", "1 m []", "2 m []", "3 m []", "4 m []", "2 n [{a 1} {g.b true} {g.c x y} {g.h.d 1.5}]", "2 o [{a 1}]"}
	if !reflect.DeepEqual(logged.entries, want) {
		t.Error(logged.entries)
	}
}
