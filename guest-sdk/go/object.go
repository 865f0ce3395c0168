package holdfast

import (
	"net/http"

	"holdfast.dev/holdfast/internal/contract"
	"holdfast.dev/holdfast/internal/turn"
)

// Object is an object of your class: it answers HTTP requests.
//
// The host makes at most one instance of an object and gives it one event at a time, so a handler needs no locks. Each call is a
// turn: when it returns nil, all it wrote and its answer become visible together; when it returns an error, panics, or runs out of its time or
// memory, nothing of it stays, and the instance is dropped (it stays after an error of a turn that has stored and sent nothing). Between turns an instance may be dropped at any time (it is after some
// seconds without requests), so what is in memory is a cache: what must last goes to [Context.Storage] or [Context.SQL].
//
// A class that sets alarms implements alarm.Handler, one that listens to its WebSockets websocket.Handler, one that goes on later
// late.Handler; the packages of these names have them.
type Object interface {
	// Fetch answers one HTTP request, as [http.Handler] does: [http.ServeMux] and all that is made for it can be used. What it wrote to
	// w is sent when it returns nil, and forgotten otherwise. The body of r is there as a whole, at most 32 MiB by default.
	Fetch(w http.ResponseWriter, r *http.Request) error
}

// Register names the function that makes an object, before its first turn and as part of it: the place to create tables (see
// [SQL.Migrate]) and to load what handlers need at hand. An error fails that turn; the next one tries again.
//
// Call it once, in an init function: main is not run.
func Register(create func(*Context) (Object, error)) {
	if turn.Create != nil {
		panic("holdfast: Register was called twice; a program is one class")
	}
	turn.Create = func() (any, any, error) {
		ctx := newContext(contract.Current)
		object, err := create(ctx)
		return object, ctx, err
	}
}

// Context is what an object has of its own: who it is, its storage, its database, its alarm, its WebSockets, and its work for later.
type Context struct {
	// Storage is the object's map from strings to bytes, and what concerns all of its storage.
	Storage *Storage
	// SQL is the object's SQLite database.
	SQL *SQL
	// Alarm is the object's one alarm.
	Alarm *Alarm
	// Sockets are the object's WebSockets.
	Sockets *Sockets
	// Late is what goes on after its turn.
	Late *Late

	host contract.Host
}

func newContext(host contract.Host) *Context {
	storage := &Storage{host}
	return &Context{
		Storage: storage, SQL: &SQL{host, storage}, Alarm: &Alarm{host}, Sockets: &Sockets{host}, Late: &Late{host}, host: host,
	}
}

func init() { turn.NewContext = func(host contract.Host) any { return newContext(host) } }

// ID is the object's id: 64 lowercase hex digits, which never change.
func (c *Context) ID() string { return c.host.ID() }

// Name is the name that the object was reached by; empty for an object with a unique id, and for one that was only ever reached by
// its id.
func (c *Context) Name() string {
	name, _ := c.host.Name()
	return name
}

// Class is the name of the object's class at this moment. Classes can be renamed; ids stay.
func (c *Context) Class() string { return c.host.Class() }
