package main

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast.dev/holdfast"
)

// lateWork is the late work of the instance.
type lateWork struct {
	waiting []*script
	// ready go on when the script that runs has ended, or waits.
	ready  []*script
	timers map[string]*timer
}

// timer is what a command of `later` is to do.
type timer struct {
	holdfast.Debounce
	command []string
}

// waits is what a script waits for.
type waits struct {
	// end answers the caller of the script; with a deferred answer if it has waited.
	end      func(answers string, deferred *holdfast.Deferred) error
	deferred *holdfast.Deferred
	// until is the resume that it waits for, or else topic what it is to be told.
	until     *holdfast.Token
	topic     *string
	exclusive bool
	// gone comes when its client has gone, which is then stored under key.
	gone *holdfast.Token
	key  string
}

func (w *waits) isWaiting() bool { return w.until != nil || w.topic != nil }

// begin runs a script, and calls end when it has ended: in this turn or in a later one.
func (k *Conformance) begin(text string, about turn, end func(answers string, deferred *holdfast.Deferred) error) error {
	s := &script{Conformance: k, lines: strings.Split(text, "\n"), turn: about, waits: waits{end: end}}
	if err := s.untilEnd(false); err != nil {
		return err
	}
	if s.isWaiting() {
		k.late.waiting = append(k.late.waiting, s)
	} else if err := s.ended(nil); err != nil {
		return err
	}
	return k.goOn()
}

// goOn runs the scripts that are ready to their ends, or until they wait again.
func (k *Conformance) goOn() error {
	for len(k.late.ready) > 0 {
		s := k.late.ready[0]
		k.late.ready = k.late.ready[1:]
		err := s.untilEnd(false)
		if err == nil && s.isWaiting() {
			k.late.waiting = append(k.late.waiting, s)
			continue
		}
		if err := s.ended(err); err != nil {
			return err
		}
	}
	return nil
}

// ended answers the caller of a script, unless it has gone.
func (s *script) ended(err error) error {
	if s.gone != nil {
		s.ctx.Late.Cancel(*s.gone)
	}
	if err != nil {
		err = s.deferred.Fail(err)
	} else {
		err = s.end(s.answers.String(), s.deferred)
	}
	if errors.Is(err, holdfast.ErrGone) {
		return nil
	}
	return err
}

// done ends an event.
func done(deferred *holdfast.Deferred) error {
	if deferred == nil {
		return nil
	}
	return deferred.Done()
}

// Resume implements [late.Handler].
func (k *Conformance) Resume(tokens []holdfast.Token) error {
	for _, token := range tokens {
		if err := k.resume(token); err != nil {
			return err
		}
	}
	return k.goOn()
}

func (k *Conformance) resume(token holdfast.Token) error {
	for i, s := range k.late.waiting {
		isDue, isGone := s.until != nil && *s.until == token, s.gone != nil && *s.gone == token
		if !isDue && !isGone {
			continue
		}
		k.late.waiting = slices.Delete(k.late.waiting, i, i+1)
		if isGone {
			return k.ctx.Storage.Put(s.key, []byte("gone"))
		}
		if s.exclusive {
			k.ctx.Late.SetExclusive(false)
		}
		s.until, s.exclusive = nil, false
		k.late.ready = append(k.late.ready, s)
		return nil
	}
	for name, timer := range k.late.timers {
		if !timer.IsDue([]holdfast.Token{token}) {
			continue
		}
		delete(k.late.timers, name)
		if _, err := commands[timer.command[0]].run(&script{Conformance: k}, timer.command[1:]); err != nil {
			slog.Error(err.Error())
		}
	}
	return nil
}

func (s *script) answer(answer string) { s.answers.WriteString(answer + "\n") }

// deferAnswer makes sure that the script's answer comes later.
func (s *script) deferAnswer() (err error) {
	if s.deferred == nil {
		s.deferred, err = s.ctx.Late.Defer()
	}
	return err
}

func (s *script) wait(args []string) (string, error) {
	wait, err := millis(args[0])
	if err != nil {
		return "", err
	}
	if err := s.deferAnswer(); err != nil {
		return "", err
	}
	token, err := s.ctx.Late.ResumeAfter(wait)
	if err == nil {
		s.until = &token
	}
	return ok(err)
}

func (s *script) waitExclusive(args []string) (string, error) {
	answer, err := s.wait(args)
	if err == nil {
		s.exclusive = true
		s.ctx.Late.SetExclusive(true)
	}
	return answer, err
}

func (s *script) waitFor(args []string) (string, error) {
	if err := s.deferAnswer(); err != nil {
		return "", err
	}
	s.topic = &args[0]
	return "", nil
}

func (s *script) tell(args []string) (string, error) {
	before := len(s.late.waiting)
	s.late.waiting = slices.DeleteFunc(s.late.waiting, func(waiting *script) bool {
		hears := waiting.topic != nil && *waiting.topic == args[0]
		if hears {
			waiting.topic = nil
			waiting.answer(encode(args[1]))
			s.late.ready = append(s.late.ready, waiting)
		}
		return hears
	})
	return strconv.Itoa(before - len(s.late.waiting)), nil
}

func (s *script) later(args []string) (string, error) {
	wait, err := millis(args[0])
	if err != nil {
		return "", err
	}
	if s.late.timers == nil {
		s.late.timers = map[string]*timer{}
	}
	if s.late.timers[args[1]] == nil {
		s.late.timers[args[1]] = &timer{}
	}
	put := s.late.timers[args[1]]
	put.command = args[2:]
	return ok(put.PutOff(s.ctx, wait))
}

func (s *script) cancel(args []string) (string, error) {
	timer, found := s.late.timers[args[0]]
	delete(s.late.timers, args[0])
	return strconv.FormatBool(found && timer.Cancel(s.ctx)), nil
}

func (s *script) onGone(args []string) (string, error) {
	if err := s.deferAnswer(); err != nil {
		return "", err
	}
	token, err := s.deferred.OnGone()
	if err == nil {
		s.gone, s.key = &token, args[0]
	}
	return ok(err)
}

func millis(word string) (time.Duration, error) {
	number, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return 0, badScript("no time: %s", word)
	}
	return time.Duration(number) * time.Millisecond, nil
}
