package holdfast

import (
	"math"
	"time"

	"holdfast.dev/holdfast/internal/contract"
)

// Alarm is the object's one alarm: a time at which the host calls it, whether or not a client is connected. What is called is in package
// alarm, and a class that does not import that has no handler ([ErrNoHandler]). A change is part of the turn.
type Alarm struct{ host contract.Host }

// Get returns when the alarm will come; the zero time if it is not set. While it is being handled it is not, unless the handler has set
// a new one.
func (a *Alarm) Get() (time.Time, error) {
	millis, set, err := a.host.Alarm()
	if err != nil || !set {
		return time.Time{}, refused(err)
	}
	return time.UnixMilli(int64(millis)), nil
}

// Set sets the alarm, in place of any there is. It comes at that time, rounded up to milliseconds, or later, never early; a time
// that has passed comes at once, after this turn. [ErrBadTime] if it is not after 1970, or 2^53 milliseconds or more after it.
func (a *Alarm) Set(at time.Time) error {
	// What is set must not come before the time, so it is rounded up. Times that no integer holds are bad, as 0 is.
	millis := uint64(0)
	if seconds := at.Unix(); seconds >= 0 && seconds < math.MaxInt64/1000 {
		millis = uint64(seconds)*1000 + uint64(at.Nanosecond()+999_999)/1_000_000
	} else if seconds > 0 {
		millis = math.MaxUint64
	}
	return refused(a.host.SetAlarm(millis))
}

// SetAfter sets the alarm to so long after the start of the turn.
func (a *Alarm) SetAfter(wait time.Duration) error { return a.Set(time.Now().Add(wait)) }

// Delete removes the alarm. Without one this does nothing.
func (a *Alarm) Delete() error { return refused(a.host.DeleteAlarm()) }
