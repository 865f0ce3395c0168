package holdfast

import (
	"errors"
	"fmt"

	"holdfast.dev/holdfast/internal/contract"
	"holdfast.dev/holdfast/internal/turn"
)

// Error is why a turn fails, with a code that callers can match on.
//
// Returning an error undoes the turn: nothing it wrote is kept, the object's memory is dropped if the turn has stored or sent anything, and the caller gets status 500,
// or 503 when it is retryable. That is right for what should not happen. For what callers do wrong answer them, for example with
// [http.Error], and return nil.
//
// Any error will do; one that is no Error and wraps none has the code "guest-error" ("storage-error", "sql-error", "alarm-error",
// "websocket-error" or "late-error" for a [RefusedError]).
type Error struct {
	// Code is 1 to 64 bytes of a-z, 0-9 and "-"; the host shows others as "guest-error".
	Code string
	// Message is for people. The host keeps 8 KiB.
	Message string
	// Retryable says that the same request may succeed later.
	Retryable bool

	cause error
}

// Errorf makes an [Error]. The format is that of [fmt.Errorf], %w included.
func Errorf(code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.cause }

// Case is one of the reasons for which the host refuses an operation, named as in the contract (wit/). It is an error to
// compare with:
//
//	if errors.Is(err, holdfast.ErrConstraint) {
//		http.Error(w, "that name is taken", http.StatusConflict)
//		return nil
//	}
type Case string

// Reasons for which the host refuses. A refused operation changed nothing, and the turn can go on, [ErrFull] excepted.
const (
	// The object's database is at its limit, or the disk is full. The turn fails, whatever the handler returns.
	ErrFull Case = "full"
	// What was open belongs to a turn that has ended, or something later invalidated it.
	ErrClosed Case = "closed"
	// None of the others; the message says it in words.
	ErrOther Case = "other"

	// A key is empty or longer than 2,048 bytes.
	ErrKeySize Case = "key-size"
	// Key and value together are longer than 2,000,000 bytes.
	ErrValueSize Case = "value-size"
	// More than 128 keys or entries in one call, or more late work than an instance may have.
	ErrTooMany Case = "too-many"
	// The options of a listing contradict each other.
	ErrBadRange Case = "bad-range"

	// Not possible in a transaction, because it concerns the whole turn.
	ErrSavepointOpen Case = "savepoint-open"
	// More than 32 transactions in each other.
	ErrTooDeep Case = "too-deep"

	// The text holds no SQL statement.
	ErrNoStatement Case = "no-statement"
	// The statement is not allowed to objects.
	ErrNotAuthorized Case = "not-authorized"
	// The number of parameters does not fit.
	ErrParameterCount Case = "parameter-count"
	// A constraint was violated.
	ErrConstraint Case = "constraint"
	// Any other error of SQLite, for example a syntax error.
	ErrSQLite Case = "sqlite"

	// A text, a value, a message or an attachment is over its limit.
	ErrTooLarge Case = "too-large"

	// The time of an alarm is not after 1970, or 2^53 milliseconds or more after it.
	ErrBadTime Case = "bad-time"
	// The class handles no alarms: see package alarm.
	ErrNoHandler Case = "no-handler"

	// The turn is not about a request that asks for a WebSocket.
	ErrNotAnUpgrade Case = "not-an-upgrade"
	// The turn has accepted its socket already.
	ErrAlreadyAccepted Case = "already-accepted"
	// The object has as many sockets as it may.
	ErrTooManySockets Case = "too-many-sockets"
	// More than 10 tags, or one that is empty or longer than 256 bytes.
	ErrBadTag Case = "bad-tag"
	// There is no such socket (any more).
	ErrUnknownSocket Case = "unknown-socket"
	// The socket is closing.
	ErrClosing Case = "closing"
	// The messages of this turn are more than the host holds for one turn.
	ErrTooMuch Case = "too-much"
	// Not a code that an application may close with.
	ErrBadCode Case = "bad-code"

	// The answer of this turn cannot be deferred.
	ErrNotDeferrable Case = "not-deferrable"
	// The deferred answer was given, or its caller has gone.
	ErrGone Case = "gone"
	// The caller waits for another kind of answer.
	ErrWrongKind Case = "wrong-kind"
)

func (c Case) Error() string { return string(c) }

// RefusedError is an operation that the host refused. [errors.Is] finds its case, [errors.As] the rest.
type RefusedError struct {
	// Case is the reason.
	Case Case
	// Message says it in words; for ErrConstraint and ErrSQLite, in SQLite's.
	Message string
	// SQLiteCode is SQLite's extended result code for ErrConstraint and ErrSQLite, for example 2067 for a UNIQUE constraint.
	SQLiteCode int

	code string
}

func (e *RefusedError) Error() string {
	if e.Case == ErrSQLite {
		return fmt.Sprintf("%s (SQLite code %d)", e.Message, e.SQLiteCode)
	}
	return e.Message
}

func (e *RefusedError) Unwrap() error { return e.Case }

// refused is what the host said as an error of this package.
func refused(err error) error {
	refusal, ok := err.(*contract.Refusal)
	if !ok {
		return err
	}
	e := &RefusedError{Case: Case(refusal.Case), Message: inWords(refusal), code: codes[refusal.Interface]}
	if e.Case == ErrConstraint || e.Case == ErrSQLite {
		e.SQLiteCode = int(refusal.A)
	}
	return e
}

// codes are those of turns that fail because the handler returned a refusal.
var codes = map[contract.Interface]string{
	contract.KeyValue:   "storage-error",
	contract.Storage:    "storage-error",
	contract.SQL:        "sql-error",
	contract.Alarms:     "alarm-error",
	contract.WebSockets: "websocket-error",
	contract.Later:      "late-error",
}

func inWords(r *contract.Refusal) string {
	switch Case(r.Case) {
	case ErrFull:
		return "the object's storage is full"
	case ErrClosed:
		return "closed: its turn has ended, or what came later invalidated it"
	case ErrKeySize:
		return fmt.Sprintf("a key of %d bytes: keys are 1 to 2,048 bytes long", r.A)
	case ErrValueSize:
		return fmt.Sprintf("key and value of %d bytes: together they are at most 2,000,000 bytes long", r.A)
	case ErrTooMany:
		if r.Interface == contract.Later {
			return fmt.Sprintf("the instance has %d of them, as many as it may", r.A)
		}
		return fmt.Sprintf("%d keys in one call: at most 128 are allowed", r.A)
	case ErrBadRange:
		return "the options of the listing contradict each other: " + r.Text
	case ErrSavepointOpen:
		return "not possible in a transaction: it concerns the whole turn"
	case ErrTooDeep:
		return fmt.Sprintf("at most %d transactions can be in each other", r.A)
	case ErrNoStatement:
		return "the text holds no SQL statement"
	case ErrNotAuthorized:
		return "not authorized: " + r.Text
	case ErrParameterCount:
		return fmt.Sprintf("the last statement takes %d parameters and was given %d", r.A, r.B)
	case ErrTooLarge:
		if r.Interface == contract.SQL {
			return "too large: " + r.Text
		}
		return fmt.Sprintf("%d bytes: at most %d are allowed", r.A, r.B)
	case ErrBadTime:
		return "no time for an alarm: it is not after 1970, or too far in the future"
	case ErrNoHandler:
		return "the class handles no alarms: give it a method Alarm(alarm.Event) error"
	case ErrNotAnUpgrade:
		return "the request does not ask for a WebSocket"
	case ErrAlreadyAccepted:
		return "the turn has accepted its socket already"
	case ErrTooManySockets:
		return fmt.Sprintf("an object can have at most %d sockets", r.A)
	case ErrBadTag:
		return "no tag for a socket: " + r.Text
	case ErrUnknownSocket:
		return "there is no such socket, or it is gone"
	case ErrClosing:
		return "the socket is closing"
	case ErrTooMuch:
		return fmt.Sprintf("the messages of one turn are at most %d bytes", r.A)
	case ErrBadCode:
		return fmt.Sprintf("%d is no code to close with: use 1000, 1001, 1003, 1007 to 1014, or 3000 to 4999", r.A)
	case ErrNotDeferrable:
		return "the answer of this turn cannot be deferred"
	case ErrGone:
		return "the deferred answer was given, or its caller has gone"
	case ErrWrongKind:
		return "the caller waits for another kind of answer"
	default:
		return r.Text
	}
}

// explain is what a turn fails with when a handler returns this.
func explain(err error) contract.Failure {
	failure := contract.Failure{Code: "guest-error", Message: err.Error()}
	var own *Error
	var refusal *RefusedError
	switch {
	case errors.As(err, &own):
		failure.Code, failure.Retryable = own.Code, own.Retryable
	case errors.As(err, &refusal):
		failure.Code = refusal.code
	}
	return failure
}

func init() { turn.Explain = explain }
