// Package holdfast makes durable objects in Go: an object is a value with a method that answers HTTP requests.
//
// An object is one addressable instance of a class, such as the counter named alice: it handles one event at a time and has its own storage on
// disk. A class is a program. This is a whole one:
//
//	package main
//
//	import (
//		"fmt"
//		"net/http"
//
//		"holdfast.dev/holdfast"
//	)
//
//	type Counter struct{ ctx *holdfast.Context }
//
//	func init() {
//		holdfast.Register(func(ctx *holdfast.Context) (holdfast.Object, error) { return &Counter{ctx}, nil })
//	}
//
//	func main() {}
//
//	func (c *Counter) Fetch(w http.ResponseWriter, r *http.Request) error {
//		var n int
//		if _, err := c.ctx.Storage.GetJSON("n", &n); err != nil {
//			return err
//		}
//		n++
//		if err := c.ctx.Storage.PutJSON("n", n); err != nil {
//			return err
//		}
//		_, err := fmt.Fprintln(w, n)
//		return err
//	}
//
// "holdfast new" makes a project of it, "holdfast dev" serves it: curl 127.0.0.1:8787/counter/alice.
//
// # Turns
//
// Each call of a handler is a turn, and a turn is atomic. Nil: all it wrote stays, and the caller gets the response once that is on disk. An
// error, a panic, or running out of time or memory: nothing of it stays, and the caller gets an error. So two
// writes in one handler need no transaction, and no handler meets half of another's work. [Object] has the details.
//
// A handler that waits for the outside is several turns; each is atomic, and others may come between them. [Late] has such waits.
//
// # What an object has
//
// [Context] gives it [Storage], an ordered map from strings to bytes; [SQL], a SQLite database; [Alarm], a time at which it is called whether or
// not a client is connected; [Sockets], WebSockets that outlive its instance; and [Late], what goes on after its turn. Handlers for the
// last three are in the packages alarm, websocket and late: importing one is what gives a class that handler.
//
// # Errors
//
// Every error that a handler returns fails the turn. [Errorf] makes one with a code that callers can match on. What the host refuses is a
// [RefusedError]; [errors.Is] distinguishes them by comparing with [Case]s such as [ErrKeySize] and [ErrConstraint].
//
// # Log, time, randomness
//
// Packages log/slog and log write to the object's log, and so do panics, with their stack, and the standard output and error; what a failed
// turn logged stays. [time.Now] stands still during a turn, at its start. Random numbers come from
// math/rand/v2 and crypto/rand. There are no files, network connections or environment.
//
// Goroutines run while a handler runs, one at a time: there is one thread. One that is left when the handler returns goes on in the next
// turn, if there is one; [Late.ResumeAfter] makes sure that there is.
//
// # On your machine
//
// Packages are checked and tested natively; package holdfasttest is a host made of maps. A class is compiled with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -buildvcs=false -ldflags="-s -w -checklinkname=0"
//
// which gives a core module; "holdfast build" does that and makes it a component.
package holdfast
