package holdfasttest

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/contract"
)

// Answer is the answer of a turn that was deferred.
type Answer struct {
	// Gone says that its client has gone: a test sets it.
	Gone bool
	// Answered says that it was given: with a response, or else a failure, or else as an event that was handled.
	Answered bool
	// Status, Header and Body are the response's.
	Status int
	Header http.Header
	Body   []byte
	// Failure is why it failed; nil if it did not.
	Failure *holdfast.Error

	upgrade bool
}

// Resume is a resume that is scheduled.
type Resume struct {
	// After is how long after its turn it is to come.
	After time.Duration
	// Holds says that it keeps the instance in memory.
	Holds bool
	// Of says whose client is waited for; nil for a resume at a time.
	Of *Answer
}

// TakeResumes takes the tokens of all resumes that come within this time, as they are due, and of those whose client has gone: what
// late.Handler is given.
func (h *Host) TakeResumes(within time.Duration) []holdfast.Token {
	var due []holdfast.Token
	for token, resume := range h.Resumes {
		if resume.Of == nil && resume.After <= within || resume.Of != nil && resume.Of.Gone {
			due = append(due, token)
		}
	}
	slices.SortFunc(due, func(a, b holdfast.Token) int {
		return cmp.Or(cmp.Compare(h.Resumes[a].After, h.Resumes[b].After), cmp.Compare(a, b))
	})
	for _, token := range due {
		delete(h.Resumes, token)
	}
	return due
}

func (f fake) resume(resume Resume) (uint64, error) {
	if len(f.Resumes) >= 1000 {
		return 0, refuse(contract.Later, "too-many", 1000, 0)
	}
	f.tokens++
	f.Resumes[holdfast.Token(f.tokens)] = resume
	return f.tokens, nil
}

func (f fake) ResumeAfter(millis uint64, holds bool) (uint64, error) {
	return f.resume(Resume{After: time.Duration(millis) * time.Millisecond, Holds: holds})
}

func (f fake) Cancel(token uint64) bool {
	_, found := f.Resumes[holdfast.Token(token)]
	delete(f.Resumes, holdfast.Token(token))
	return found
}

func (f fake) Defer() (uint64, error) {
	if !f.Deferrable {
		return 0, refuse(contract.Later, "not-deferrable", 0, 0)
	}
	f.Deferrable = false
	f.Host.Deferred = append(f.Host.Deferred, &Answer{upgrade: f.Upgrade})
	return uint64(len(f.Host.Deferred)), nil
}

// waiting is one that is not answered and whose client has not gone.
func (f fake) waiting(id uint64) (*Answer, error) {
	answer := f.Host.Deferred[id-1]
	if answer.Answered || answer.Gone {
		return nil, refuse(contract.Later, "gone", 0, 0)
	}
	return answer, nil
}

func (f fake) Reply(id uint64, given contract.Answer) error {
	answer, err := f.waiting(id)
	if err != nil {
		return err
	}
	answer.Answered = true
	switch given.Kind {
	case contract.Response:
		answer.Status, answer.Header, answer.Body = int(given.Status), http.Header{}, given.Body
		for _, header := range given.Headers {
			answer.Header.Add(header.Name, header.Value)
		}
	case contract.Failed:
		answer.Failure = &holdfast.Error{
			Code: given.Failure.Code, Message: given.Failure.Message, Retryable: given.Failure.Retryable,
		}
	}
	return nil
}

func (f fake) OnGone(id uint64) (uint64, error) {
	answer, err := f.waiting(id)
	if err != nil {
		return 0, err
	}
	return f.resume(Resume{Of: answer})
}

func (f fake) AcceptDeferred(id uint64, tags []string) (uint64, error) {
	answer, err := f.waiting(id)
	if err != nil {
		return 0, err
	}
	if !answer.upgrade {
		return 0, refuse(contract.Later, "wrong-kind", 0, 0)
	}
	f.Upgrade = true
	return f.Accept(tags)
}

func (f fake) HoldFor(socket uint64) error {
	if _, found := f.Host.Sockets[socket]; !found {
		return &contract.Refusal{Interface: contract.Later, Case: "other", Text: "there is no such socket"}
	}
	f.Held = append(f.Held, f.Context().Sockets.ByID(socket))
	return nil
}

func (f fake) Exclusive(on bool) { f.Host.Exclusive = on }

func (f fake) DropInstance() { f.Dropped = true }
