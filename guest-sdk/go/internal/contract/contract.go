// Package contract is the guest contract (wit/) as Go sees it: what a class may ask of the host, what the host refuses, and why a
// turn fails.
//
// [Host] has one implementation that calls the host (internal/canon, only in WebAssembly) and one that is made of maps
// (holdfasttest), so everything above it runs natively, too. No type here knows how it is passed.
package contract

import "fmt"

// Host is everything a class may import. A method that can be refused returns a *[Refusal] and nothing else.
//
// Its methods are called through the interface, never directly: so the compiler lets all that is passed escape to the heap, where
// nothing moves, and the implementation may give the host addresses of it.
type Host interface {
	ID() string
	Name() (name string, ok bool)
	Class() string

	Get(key string) (value []byte, ok bool, err error)
	GetMany(keys []string) ([]Entry, error)
	Put(key string, value []byte) error
	PutMany(entries []Entry) error
	Delete(key string) (existed bool, err error)
	DeleteMany(keys []string) (existed int, err error)
	List(options ListOptions) (Entries, error)

	Exec(text string, parameters []any) (ExecResult, error)

	OpenSavepoint() (Savepoint, error)
	Size() (uint64, error)
	DeleteAll() error
	Sync() error

	Alarm() (millis uint64, ok bool, err error)
	SetAlarm(millis uint64) error
	DeleteAlarm() error

	Accept(tags []string) (socket uint64, err error)
	// Sockets and Broadcast take no tag for all of them: tags are never empty.
	Sockets(tag string) []uint64
	Broadcast(tag string, message Message) (receivers int, err error)
	Tags(socket uint64) ([]string, error)
	Attachment(socket uint64) (attachment []byte, ok bool, err error)
	// SetAttachment takes nil for none.
	SetAttachment(socket uint64, attachment []byte) error
	Send(socket uint64, message Message) error
	Buffered(socket uint64) (uint64, error)
	// CloseSocket takes code 0 for none.
	CloseSocket(socket uint64, code uint16, reason string) error
	AutoResponse() (pair AutoResponse, ok bool)
	// SetAutoResponse takes nil for none.
	SetAutoResponse(pair *AutoResponse) error
	AutoResponseTime(socket uint64) (millis uint64, ok bool, err error)

	ResumeAfter(millis uint64, holds bool) (token uint64, err error)
	Cancel(token uint64) (existed bool)
	Defer() (deferred uint64, err error)
	Reply(deferred uint64, answer Answer) error
	OnGone(deferred uint64) (token uint64, err error)
	AcceptDeferred(deferred uint64, tags []string) (socket uint64, err error)
	HoldFor(socket uint64) error
	Exclusive(on bool)
	DropInstance()

	Log(level Level, message string, fields []Field)
}

// Entry is one key with its value.
type Entry struct {
	Key   string
	Value []byte
}

// ListOptions says what is listed. Nil and 0 stand for what is left out.
type ListOptions struct {
	Start, StartAfter, End, Prefix *string
	Reverse                        bool
	Limit                          *uint32
}

// Entries is an open listing.
type Entries interface {
	// Next returns the next entries, at most max of them. None are the end.
	Next(max uint32) ([]Entry, error)
	// Drop gives the listing back to the host. Once.
	Drop()
}

// ExecResult is what a statement did. Rows are as the interface packed-sql has them.
type ExecResult struct {
	Changes         uint64
	LastInsertRowID int64
	// Head and first rows; nil for a statement that returns no rows.
	Packed []byte
	// The rest; nil if Packed holds everything.
	More Cursor
}

// Cursor is the rest of a result.
type Cursor interface {
	// Next returns the next rows, at most max of them. No bytes are the end.
	Next(max uint32) ([]byte, error)
	// Drop gives the cursor back to the host. Once.
	Drop()
}

// Savepoint is a point in the turn that storage can go back to.
type Savepoint interface {
	Keep() error
	// Drop undoes what was written since, unless it was kept. Once.
	Drop()
}

// Message is one WebSocket message: text if Bytes is nil.
type Message struct {
	Text  string
	Bytes []byte
}

// AutoResponse is what the host answers for the object.
type AutoResponse struct {
	Request, Response string
}

// Answer is that of a deferred turn.
type Answer struct {
	Kind AnswerKind
	// Of a Response.
	Status  uint16
	Headers []Header
	Body    []byte
	// Of one that Failed.
	Failure Failure
}

// AnswerKind is which of the fields of an [Answer] count.
type AnswerKind uint8

// The kinds that there are callers for, by their places in the contract's variant.
const (
	Response AnswerKind = 0
	Done     AnswerKind = 3
	Failed   AnswerKind = 4
)

// Level is how much a log entry matters.
type Level uint8

// The levels, in the contract's order.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

// Field is a name with a value in the log.
type Field struct {
	Name, Value string
}

// Header is a header's name with one of its values.
type Header struct {
	Name, Value string
}

// Failure is why a handler did not do what it was asked.
type Failure struct {
	Code, Message string
	Retryable     bool
}

// Interface is one of the contract's imported interfaces that refuse.
type Interface string

// The interfaces by their names in wit/.
const (
	KeyValue   Interface = "key-value"
	SQL        Interface = "sql"
	Storage    Interface = "storage"
	Alarms     Interface = "alarms"
	WebSockets Interface = "websockets"
	Later      Interface = "later"
)

// Refusal is an operation that the host refused.
type Refusal struct {
	Interface Interface
	// Case is its name in wit/.
	Case string
	// Text is the payload of the cases that carry words, SQLite's own among them.
	Text string
	// A and B are the payloads of the cases that carry numbers.
	A, B int64
}

// Error is for logs of the SDK itself; people read what package holdfast makes of it.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: %s %s", r.Interface, r.Case, r.Text)
}

// Current is the host of this program. There is none natively.
var Current Host
