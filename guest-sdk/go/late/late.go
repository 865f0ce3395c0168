// Package late is for classes that go on after a turn. Importing it makes the class one: the host calls only what a class exports, and this
// package exports the handler. Deferring, scheduling and cancelling are [holdfast.Late].
//
// # Answering later
//
//	// Mailbox answers GET when the next POST brings something.
//	type Mailbox struct {
//		ctx     *holdfast.Context
//		waiting []*holdfast.Deferred
//	}
//
//	func (m *Mailbox) Fetch(w http.ResponseWriter, r *http.Request) error {
//		if r.Method == http.MethodGet {
//			deferred, err := m.ctx.Late.Defer()
//			if err == nil {
//				m.waiting = append(m.waiting, deferred)
//			}
//			return err
//		}
//		text, err := io.ReadAll(r.Body)
//		if err != nil {
//			return err
//		}
//		for _, waiting := range m.waiting {
//			// A client that has gone needs no answer.
//			_ = waiting.Respond(func(w http.ResponseWriter) { w.Write(text) })
//		}
//		m.waiting = nil
//		return nil
//	}
//
// This needs no handler, and so no import of this package.
//
// # Doing something later
//
//	// Draft stores what it was sent last, when nothing came for a second.
//	type Draft struct {
//		ctx    *holdfast.Context
//		text   []byte
//		saving holdfast.Debounce
//	}
//
//	func (d *Draft) Fetch(w http.ResponseWriter, r *http.Request) (err error) {
//		if d.text, err = io.ReadAll(r.Body); err != nil {
//			return err
//		}
//		return d.saving.PutOff(d.ctx, time.Second)
//	}
//
//	func (d *Draft) Resume(tokens []holdfast.Token) error {
//		if d.saving.IsDue(tokens) {
//			return d.ctx.Storage.Put("text", d.text)
//		}
//		return nil
//	}
//
// A goroutine does not wait between turns: it runs while a handler runs. Keep what is to go on in the object, with the token of its resume.
package late

import (
	"fmt"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/contract"
	"holdfast.dev/holdfast/internal/turn"
)

// Handler is an object that resumes work of earlier turns. The object of a program that imports this package must be one.
type Handler interface {
	// Resume resumes what is due: one turn for all tokens that are due at this moment, at most 256. Each comes once, also if this fails.
	Resume(tokens []holdfast.Token) error
}

func init() {
	turn.Checks = append(turn.Checks, func(object any) error {
		if _, ok := object.(Handler); !ok {
			return fmt.Errorf("the program imports package late, and %T has no method Resume([]holdfast.Token) error", object)
		}
		return nil
	})
}

func handle(tokens []holdfast.Token) *contract.Failure {
	return turn.Run(func() error { return turn.Object.(Handler).Resume(tokens) })
}
