// Package turn holds the one object of this program and runs its handlers: what package holdfast and the packages of single handlers
// (alarm, websocket) share. It knows no handler.
//
// What must stay true: nothing that a handler does goes past [Run], neither a panic nor what it left open.
package turn

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"holdfast.dev/holdfast/internal/contract"
)

var (
	// Create makes the object and its context. Set by holdfast.Register.
	Create func() (object, context any, err error)
	// Object is what Create made, and Context what it was given, for the packages of handlers. Nil before Init.
	Object, Context any
	// Checks say whether an object has what the program exports. Added to by the packages of handlers, before Init.
	Checks []func(object any) error
	// Explain makes a failure of an error that a handler returned. Set by package holdfast.
	Explain func(error) contract.Failure
	// NewContext makes a *holdfast.Context for a host. Set by package holdfast.
	NewContext func(contract.Host) any
)

// Init makes the object.
func Init() *contract.Failure {
	return Run(func() error {
		if Create == nil {
			return fmt.Errorf("no class: call holdfast.Register in an init function")
		}
		object, context, err := Create()
		if err != nil {
			return err
		}
		for _, check := range Checks {
			if err := check(object); err != nil {
				return err
			}
		}
		Object, Context = object, context
		return nil
	})
}

// Run runs a handler. What it fails with, or panics with, is the failure; what it left open is closed.
func Run(handler func() error) (failure *contract.Failure) {
	defer closeAll()
	defer func() {
		if reason := recover(); reason != nil {
			failure = panicked(reason)
		}
	}()
	if err := handler(); err != nil {
		explained := Explain(err)
		return &explained
	}
	return nil
}

func panicked(reason any) *contract.Failure {
	message := fmt.Sprintf("panic: %v", reason)
	if err, ok := reason.(error); ok {
		message = "panic: " + err.Error()
	}
	slog.Error(message, "stack", where(string(debug.Stack())))
	return &contract.Failure{Code: "panic", Message: message}
}

// where is what a stack says from the function that panicked on: above that are the functions that deal with it.
func where(stack string) string {
	if _, after, found := strings.Cut(stack, "\npanic("); found {
		// The rest of that line, and the line with its place.
		if lines := strings.SplitN(after, "\n", 3); len(lines) == 3 {
			return lines[2]
		}
	}
	return stack
}

// Dropper is something of the host's that is open.
type Dropper interface{ Drop() }

var open = map[Dropper]struct{}{}

// Opened has something closed when the turn ends, unless [Drop] closes it before.
func Opened(dropper Dropper) { open[dropper] = struct{}{} }

// Drop closes it; nothing if it is closed.
func Drop(dropper Dropper) {
	if _, found := open[dropper]; found {
		delete(open, dropper)
		dropper.Drop()
	}
}

func closeAll() {
	for dropper := range open {
		Drop(dropper)
	}
}
