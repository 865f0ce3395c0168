package websocket

import (
	"unsafe"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/canon"
)

//go:wasmexport holdfast:object/websocket-handler@0.2.0#message
func exportMessage(socket uint64, kind, data, length uint32) unsafe.Pointer {
	canon.MakeRoom(length)
	var message holdfast.Message
	if kind == 0 {
		message = holdfast.Text(canon.Bytes(data, length))
	} else {
		message = append(holdfast.Binary{}, canon.Bytes(data, length)...)
	}
	canon.Release()
	return canon.Done(handle(socket, func(object Handler, socket holdfast.Socket) error {
		return object.WebSocketMessage(socket, message)
	}))
}

//go:wasmexport holdfast:object/websocket-handler@0.2.0#close
func exportClose(socket uint64, code, reason, reasonLength, wasClean uint32) unsafe.Pointer {
	event := CloseEvent{Code: int(code), Reason: canon.Text(reason, reasonLength), WasClean: wasClean != 0}
	canon.Release()
	return canon.Done(handle(socket, func(object Handler, socket holdfast.Socket) error {
		return object.WebSocketClose(socket, event)
	}))
}

//go:wasmexport holdfast:object/websocket-handler@0.2.0#error
func exportError(socket uint64, text, length uint32) unsafe.Pointer {
	event := ErrorEvent{canon.Text(text, length)}
	canon.Release()
	return canon.Done(handle(socket, func(object Handler, socket holdfast.Socket) error {
		return object.WebSocketError(socket, event)
	}))
}
