package alarm

import (
	"unsafe"

	"holdfast.dev/holdfast/internal/canon"
)

//go:wasmexport holdfast:object/alarm-handler@0.2.0#alarm
func exportAlarm(scheduled uint64, retryCount uint32) unsafe.Pointer {
	return canon.Done(handle(scheduled, retryCount))
}
