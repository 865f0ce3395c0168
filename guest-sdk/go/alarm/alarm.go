// Package alarm is for classes that have themselves called at a time. Importing it makes the class one: the host calls only what a class
// exports, and this package exports the handler.
//
//	// Presence forgets what it was told after a minute without news.
//	type Presence struct{ ctx *holdfast.Context }
//
//	func (p *Presence) Fetch(w http.ResponseWriter, r *http.Request) error {
//		status, err := io.ReadAll(r.Body)
//		if err != nil {
//			return err
//		}
//		if err := p.ctx.Storage.Put("status", status); err != nil {
//			return err
//		}
//		return p.ctx.Alarm.SetAfter(time.Minute) // in place of the one before
//	}
//
//	func (p *Presence) Alarm(event alarm.Event) error {
//		_, err := p.ctx.Storage.Delete("status")
//		return err
//	}
//
// What is promised:
//
//   - Never early, and at least once. The handler comes at that time or later. An alarm that became due while the host was down comes when
//     it starts.
//   - Part of the turn. Setting or deleting counts when the turn succeeds; when it fails, or the transaction around it is undone, the alarm
//     is what it was.
//   - Retried. If the handler fails, all it wrote is undone, and it is called again after 2, 4, 8, 16, 32 and 64 seconds, each up to a quarter
//     longer. After the seventh failure the alarm is given up: the host logs it, and the alarm is gone.
//   - Twice is possible for what leaves the object: what a failed attempt did outside of it is not undone. What it stores is applied once.
package alarm

import (
	"fmt"
	"time"

	"holdfast.dev/holdfast/internal/contract"
	"holdfast.dev/holdfast/internal/turn"
)

// Handler is an object that handles its alarm. The object of a program that imports this package must be one.
type Handler interface {
	// Alarm handles the alarm: one turn, like a request. There is no alarm any more when it begins, so one that is to go on sets the
	// next. After an error it is called again later.
	Alarm(event Event) error
}

// Event is an alarm whose time has come.
type Event struct {
	// Scheduled is what it was set to, in whole milliseconds. It is now, or was.
	Scheduled time.Time
	// RetryCount is how many attempts to handle this alarm have failed: 0 to LastRetry.
	RetryCount int
}

// LastRetry is the retry after which there is no other.
const LastRetry = 6

// IsLastAttempt reports whether the alarm is given up if this attempt fails, too.
func (e Event) IsLastAttempt() bool { return e.RetryCount >= LastRetry }

func init() {
	turn.Checks = append(turn.Checks, func(object any) error {
		if _, ok := object.(Handler); !ok {
			return fmt.Errorf("the program imports package alarm, and %T has no method Alarm(alarm.Event) error", object)
		}
		return nil
	})
}

func handle(millis uint64, retryCount uint32) *contract.Failure {
	return turn.Run(func() error {
		return turn.Object.(Handler).Alarm(Event{time.UnixMilli(int64(millis)), int(retryCount)})
	})
}
