package holdfast_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/holdfasttest"
)

func deferred(t *testing.T, host *holdfasttest.Host) (*holdfast.Deferred, *holdfasttest.Answer) {
	t.Helper()
	host.Deferrable = true
	deferred, err := host.Context().Late.Defer()
	if err != nil {
		t.Fatal(err)
	}
	return deferred, host.Deferred[len(host.Deferred)-1]
}

func TestAnAnswerIsGivenLaterAndOnce(t *testing.T) {
	host := holdfasttest.NewHost("alice")
	if _, err := host.Context().Late.Defer(); !errors.Is(err, holdfast.ErrNotDeferrable) {
		t.Error(err)
	}
	responded, response := deferred(t, host)
	teapot := func(w http.ResponseWriter) { http.Error(w, "tea", http.StatusTeapot) }
	if err := responded.Respond(teapot); err != nil || response.Status != 418 || string(response.Body) != "tea\n" {
		t.Error(err, response)
	}
	if err := responded.Respond(teapot); !errors.Is(err, holdfast.ErrGone) {
		t.Error(err)
	}
	silent, response := deferred(t, host)
	if err := silent.Respond(func(http.ResponseWriter) {}); err != nil || response.Status != 200 {
		t.Error(err, response)
	}
	handled, done := deferred(t, host)
	if err := handled.Done(); err != nil || !done.Answered || done.Failure != nil {
		t.Error(err, done)
	}
	failing, failed := deferred(t, host)
	err := failing.Fail(fmt.Errorf("pouring: %w", &holdfast.Error{Code: "spilt", Message: "no tea", Retryable: true}))
	if want := (holdfast.Error{Code: "spilt", Message: "pouring: no tea", Retryable: true}); err != nil || *failed.Failure != want {
		t.Error(err, failed.Failure)
	}
}

func TestASocketIsAcceptedLater(t *testing.T) {
	host := holdfasttest.NewHost("alice")
	plain, _ := deferred(t, host)
	if _, err := plain.Accept("a"); !errors.Is(err, holdfast.ErrWrongKind) {
		t.Error(err)
	}
	host.Upgrade = true
	upgrade, _ := deferred(t, host)
	host.Upgrade = false
	socket, err := upgrade.Accept("b", "a")
	if tags, _ := socket.Tags(); err != nil || !reflect.DeepEqual(tags, []string{"a", "b"}) {
		t.Error(err, tags)
	}
	late := host.Context().Late
	if err := late.HoldFor(socket); err != nil || len(host.Held) != 1 {
		t.Error(err, host.Held)
	}
	if err := late.HoldFor(host.Context().Sockets.ByID(9)); !errors.Is(err, holdfast.ErrOther) {
		t.Error(err)
	}
}

func TestResumesAreNeverEarly(t *testing.T) {
	host := holdfasttest.NewHost("alice")
	late := host.Context().Late
	for wait, want := range map[time.Duration]time.Duration{
		-time.Second: 0, 0: 0, 1: time.Millisecond, time.Millisecond: time.Millisecond, time.Millisecond + 1: 2 * time.Millisecond,
	} {
		token, err := late.ResumeAfter(wait)
		if err != nil || host.Resumes[token] != (holdfasttest.Resume{After: want, Holds: true}) {
			t.Error(wait, err, host.Resumes[token])
		}
		if !late.Cancel(token) || late.Cancel(token) {
			t.Error("it was to be forgotten once")
		}
	}
	if token, _ := late.ResumeIfInMemoryAfter(0); host.Resumes[token].Holds {
		t.Error("it holds")
	}
	for err := error(nil); err == nil; {
		if _, err = late.ResumeAfter(0); err != nil && !errors.Is(err, holdfast.ErrTooMany) {
			t.Error(err)
		}
	}
}

func TestAClientThatHasGoneResumesTheInstance(t *testing.T) {
	host := holdfasttest.NewHost("alice")
	waiting, answer := deferred(t, host)
	token, err := waiting.OnGone()
	if tokens := host.TakeResumes(time.Hour); err != nil || len(tokens) != 0 {
		t.Error(err, tokens)
	}
	answer.Gone = true
	if tokens := host.TakeResumes(0); !reflect.DeepEqual(tokens, []holdfast.Token{token}) {
		t.Error(tokens)
	}
	if err := waiting.Done(); !errors.Is(err, holdfast.ErrGone) {
		t.Error(err)
	}
}

func TestADebounceIsDueOnce(t *testing.T) {
	host := holdfasttest.NewHost("alice")
	ctx := host.Context()
	var saving holdfast.Debounce
	if saving.IsDue([]holdfast.Token{0}) || saving.Cancel(ctx) {
		t.Error("it was never put off")
	}
	for range 3 {
		if err := saving.PutOff(ctx, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if saving.IsDue(host.TakeResumes(time.Millisecond)) {
		t.Error("too early")
	}
	tokens := host.TakeResumes(time.Second)
	if len(tokens) != 1 || !saving.IsDue(tokens) || saving.IsDue(tokens) {
		t.Error(tokens)
	}
	if err := saving.PutOff(ctx, time.Second); err != nil || !saving.Cancel(ctx) || saving.IsDue(host.TakeResumes(time.Hour)) {
		t.Error(err)
	}
}
