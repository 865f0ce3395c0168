package late

import (
	"unsafe"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/canon"
)

//go:wasmexport holdfast:object/later-handler@0.2.0#resume
func exportResume(tokens, count uint32) unsafe.Pointer {
	due := canon.Numbers[holdfast.Token](tokens, count)
	canon.Release()
	return canon.Done(handle(due))
}
