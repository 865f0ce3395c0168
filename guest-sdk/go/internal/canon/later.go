//go:build wasip1

package canon

import (
	"runtime"

	"holdfast.dev/holdfast/internal/contract"
)

func (host) ResumeAfter(millis uint64, holds bool) (token uint64, err error) {
	result := begin()
	defer end()
	laterResumeAfter(millis, holds, result.at)
	return result.number(&laterErrors)
}

func (host) Cancel(token uint64) (existed bool) { return laterCancel(token) }

func (host) Defer() (deferred uint64, err error) {
	result := begin()
	defer end()
	laterDefer(result.at)
	return result.number(&laterErrors)
}

func (host) Reply(deferred uint64, answer contract.Answer) error {
	var lowered [5]uint32
	var headers []entry
	switch answer.Kind {
	case contract.Response:
		headers = entriesOf(answer.Headers)
		lowered = [5]uint32{
			uint32(answer.Status), address32(first(headers)), uint32(len(headers)),
			address32(first(answer.Body)), uint32(len(answer.Body)),
		}
	case contract.Failed:
		lowered = lowerFailure(&answer.Failure)
	}
	result := begin()
	defer end()
	laterReply(deferred, uint32(answer.Kind), lowered[0], lowered[1], lowered[2], lowered[3], lowered[4], result.at)
	runtime.KeepAlive(answer)
	runtime.KeepAlive(headers)
	return laterErrors.in(result, 4)
}

func (host) OnGone(deferred uint64) (token uint64, err error) {
	result := begin()
	defer end()
	laterOnGone(deferred, result.at)
	return result.number(&laterErrors)
}

func (host) AcceptDeferred(deferred uint64, tags []string) (socket uint64, err error) {
	lowered := spansOf(tags)
	result := begin()
	defer end()
	laterAccept(deferred, first(lowered), uint32(len(lowered)), result.at)
	runtime.KeepAlive(tags)
	return result.number(&laterErrors)
}

func (host) HoldFor(socket uint64) error {
	result := begin()
	defer end()
	laterHoldFor(socket, result.at)
	return laterErrors.in(result, 4)
}

func (host) Exclusive(on bool) { laterExclusive(on) }

func (host) DropInstance() { laterDropInstance() }

// number is the one in a result, or its refusal.
func (p place) number(errors *errors) (uint64, error) {
	if err := errors.in(p, 8); err != nil {
		return 0, err
	}
	return p.u64(8), nil
}
