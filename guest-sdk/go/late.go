package holdfast

import (
	"net/http"
	"slices"
	"time"

	"holdfast.dev/holdfast/internal/contract"
)

// Late is work that goes on after its turn: answers that are given later, and turns at later times. What is called then is in package late,
// which shows both.
//
// A handler that waits for the outside is several turns; each is atomic, and others may come between them. What it has read may have
// changed.
//
// None of it is durable. It lives in the instance, and an instance is dropped by a deploy, an error, a lack of memory or a stop of the
// host. Callers then get the error instance-dropped, and resumes do not come. What must happen belongs in [Storage] with an [Alarm].
//
// It is part of the turn: it counts once the turn succeeds. An undone [Storage.Transaction] does not undo it.
type Late struct{ host contract.Host }

// Token names a resume. An instance never uses one again.
type Token uint64

// Defer defers the answer of the turn that runs: what its handler writes and returns with nil is not sent. [ErrNotDeferrable] in a
// resume, while the object is made, when it is deferred already, or if the class is deployed with interleave = false; [ErrTooMany] beyond
// 1,000 deferred answers.
func (l *Late) Defer() (*Deferred, error) {
	id, err := l.host.Defer()
	if err != nil {
		return nil, refused(err)
	}
	return &Deferred{host: l.host, id: id}, nil
}

// ResumeAfter resumes this instance in a turn of its own after this much time, and keeps it in memory until then: at most for the
// late-seconds of the class (120 by default) after the last event from outside. [ErrTooMany] beyond 1,000 resumes.
func (l *Late) ResumeAfter(wait time.Duration) (Token, error) { return l.resumeAfter(wait, true) }

// ResumeIfInMemoryAfter does the same and lets the instance be dropped when it is idle: for what repeats.
func (l *Late) ResumeIfInMemoryAfter(wait time.Duration) (Token, error) {
	return l.resumeAfter(wait, false)
}

func (l *Late) resumeAfter(wait time.Duration, holds bool) (Token, error) {
	// Not before its time.
	millis := max(wait, 0) / time.Millisecond
	if wait > millis*time.Millisecond {
		millis++
	}
	token, err := l.host.ResumeAfter(uint64(millis), holds)
	return Token(token), refused(err)
}

// Cancel forgets a resume. It reports whether there was one to forget.
func (l *Late) Cancel(token Token) bool { return l.host.Cancel(uint64(token)) }

// HoldFor keeps this instance in memory as long as the socket is open, unless its room is needed. If the instance is dropped nevertheless,
// the socket is closed with code 1012.
func (l *Late) HoldFor(socket Socket) error { return refused(l.host.HoldFor(socket.id)) }

// SetExclusive turns exclusive mode on or off. While it is on, only resumes come to this object, and all other events wait. After 30 s, or
// when the instance has no late work, the instance is dropped.
func (l *Late) SetExclusive(on bool) { l.host.Exclusive(on) }

// DropInstance has this instance dropped when the turn has ended, whether it succeeds or fails: the next turn begins with a new one.
func (l *Late) DropInstance() { l.host.DropInstance() }

// Deferred is the answer of a turn that is given in a later one, from [Late.Defer]. Its caller waits until it is answered, at most 15 minutes:
// keep it in the object. It is answered once; [ErrGone] for whatever comes after that.
type Deferred struct {
	host contract.Host
	id   uint64
}

// Respond answers a deferred request with what is written, as part of the turn that runs. [ErrGone] if its client has gone,
// [ErrWrongKind] if it is not a request.
func (d *Deferred) Respond(write func(w http.ResponseWriter)) error {
	w := newResponseWriter()
	write(w)
	headers := w.headers() // sets the status, if nothing was written
	return refused(d.host.Reply(d.id, contract.Answer{
		Kind: contract.Response, Status: uint16(w.status), Headers: headers, Body: w.body,
	}))
}

// Done ends a deferred event of a WebSocket or an alarm. [ErrWrongKind] if it is a request.
func (d *Deferred) Done() error {
	return refused(d.host.Reply(d.id, contract.Answer{Kind: contract.Done}))
}

// Fail answers with an error, as if the deferred handler had returned it. What this turn writes is kept.
func (d *Deferred) Fail(err error) error {
	return refused(d.host.Reply(d.id, contract.Answer{Kind: contract.Failed, Failure: explain(err)}))
}

// Accept accepts the socket that a deferred request asks for, like [Sockets.Accept]. It opens when this is answered with status 101.
// [ErrWrongKind] if the request asks for none.
func (d *Deferred) Accept(tags ...string) (Socket, error) {
	id, err := d.host.AcceptDeferred(d.id, tags)
	return Socket{d.host, id}, refused(err)
}

// OnGone resumes this instance when the client has gone that waits for this answer. [ErrGone] if it has gone already, [ErrWrongKind] if
// this is not a request.
func (d *Deferred) OnGone() (Token, error) {
	token, err := d.host.OnGone(d.id)
	return Token(token), refused(err)
}

// Debounce puts something off until it has not been asked for for a while, such as saving what changes often. Its zero value is ready.
type Debounce struct {
	token Token
	isSet bool
}

// PutOff puts it off until this much time from now, whatever it was put off to before. Errors are those of [Late.ResumeAfter].
func (d *Debounce) PutOff(ctx *Context, wait time.Duration) error {
	token, err := ctx.Late.ResumeAfter(wait)
	if err != nil {
		return err
	}
	d.Cancel(ctx)
	d.token, d.isSet = token, true
	return nil
}

// Cancel does it no more. It reports whether it was to be done.
func (d *Debounce) Cancel(ctx *Context) bool {
	was := d.isSet && ctx.Late.Cancel(d.token)
	d.isSet = false
	return was
}

// IsDue reports whether these tokens of a resume say that it is to be done now. It does so once.
func (d *Debounce) IsDue(tokens []Token) bool {
	due := d.isSet && slices.Contains(tokens, d.token)
	d.isSet = d.isSet && !due
	return due
}
