// Package websocket is for classes that listen to their WebSockets. Importing it makes the class one: the host calls only what a class
// exports, and this package exports the handler. Accepting, sending and closing are [holdfast.Sockets] and [holdfast.Socket].
//
//	type Room struct{ ctx *holdfast.Context }
//
//	func (room *Room) Fetch(w http.ResponseWriter, r *http.Request) error {
//		if _, err := room.ctx.Sockets.Accept(); err != nil {
//			return err
//		}
//		w.WriteHeader(http.StatusSwitchingProtocols)
//		return nil
//	}
//
//	func (room *Room) WebSocketMessage(_ holdfast.Socket, message holdfast.Message) error {
//		_, err := room.ctx.Sockets.Broadcast(message)
//		return err
//	}
//
//	func (*Room) WebSocketClose(holdfast.Socket, websocket.CloseEvent) error { return nil }
//	func (*Room) WebSocketError(holdfast.Socket, websocket.ErrorEvent) error { return nil }
//
// The events of one socket are turns in the order they happened. If such a turn fails, the socket is closed with code 1011: its messages
// that are still waiting are dropped, and its close event comes.
package websocket

import (
	"fmt"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/contract"
	"holdfast.dev/holdfast/internal/turn"
)

// Handler is an object that listens to its WebSockets. The object of a program that imports this package must be one.
type Handler interface {
	// WebSocketMessage handles a message: one turn.
	WebSocketMessage(socket holdfast.Socket, message holdfast.Message) error
	// WebSocketClose is called when the connection is over, no matter which side ended it: one turn, the socket's last. The socket is not among the
	// open ones any more; its tags and its attachment can be read until this turn ends.
	WebSocketClose(socket holdfast.Socket, event CloseEvent) error
	// WebSocketError is called when something went wrong with the connection. The host closes it, and its close event follows.
	WebSocketError(socket holdfast.Socket, event ErrorEvent) error
}

// CloseEvent is how a connection ended.
type CloseEvent struct {
	// Code is the peer's (1005 if it sent none); if the peer did not answer it is the one that this side closed with, or 1006 if the peer
	// vanished.
	Code int
	// Reason is the peer's.
	Reason string
	// WasClean reports whether both sides sent a close frame.
	WasClean bool
}

// ErrorEvent is what went wrong: the peer broke the protocol or sent a message over the limit.
type ErrorEvent struct {
	// Text says it in words.
	Text string
}

func init() {
	turn.Checks = append(turn.Checks, func(object any) error {
		if _, ok := object.(Handler); !ok {
			return fmt.Errorf("the program imports package websocket, and %T lacks a method of websocket.Handler", object)
		}
		return nil
	})
}

func handle(socket uint64, handler func(Handler, holdfast.Socket) error) *contract.Failure {
	return turn.Run(func() error {
		return handler(turn.Object.(Handler), turn.Context.(*holdfast.Context).Sockets.ByID(socket))
	})
}
