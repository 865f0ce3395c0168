//go:build wasip1

package canon

import (
	"runtime"
	"unsafe"

	"holdfast.dev/holdfast/internal/contract"
)

// Headers copies the list of headers that the host passes to an export.
func Headers(address, count uint32) []contract.Header {
	headers := make([]contract.Header, 0, count)
	list := span{address, count}
	place{unsafe.Pointer(&list)}.list(0, unsafe.Sizeof(entry{}), func(element place) {
		headers = append(headers, contract.Header{Name: element.text(0), Value: element.text(8)})
	})
	return headers
}

// Bytes is a list of bytes that the host passes to an export, where it is: until [Release].
func Bytes(address, length uint32) []byte { return foreign(address, length) }

// MakeRoom comes first in an export that is passed so many bytes. A few large ones are all the memory of an instance (128 MiB by default), and
// what is left of the last may be all that is missing for this one.
func MakeRoom(length uint32) {
	const large = 4 << 20
	if length >= large {
		runtime.GC()
	}
}

// Release gives back what the host passed to an export. Every export calls it once, when nothing of that is needed any more.
func Release() { exported.reset() }

// outcome is the result of an export: a discriminant and the larger of the two cases, or as much of it as there is.
type outcome struct {
	failed  uint8
	payload [5]uint32
}

// answer is the result of the last export, and kept what it refers to: the host reads both when the export has returned.
var (
	answer outcome
	kept   [3]any
)

// Done is the result of an export that answers nothing: success, or a failure if there is one.
func Done(failure *contract.Failure) unsafe.Pointer {
	if failure == nil {
		answer = outcome{}
		return unsafe.Pointer(&answer)
	}
	kept = [3]any{failure}
	answer = outcome{failed: 1, payload: lowerFailure(failure)}
	return unsafe.Pointer(&answer)
}

func lowerFailure(failure *contract.Failure) [5]uint32 {
	code, message := spanOf(failure.Code), spanOf(failure.Message)
	lowered := [5]uint32{code.address, code.length, message.address, message.length, 0}
	if failure.Retryable {
		lowered[4] = 1
	}
	return lowered
}

// Respond is the result of an export that answers a response.
func Respond(status uint16, headers []contract.Header, body []byte) unsafe.Pointer {
	lowered := entriesOf(headers)
	kept = [3]any{headers, lowered, body}
	answer = outcome{payload: [5]uint32{
		uint32(status), address32(first(lowered)), uint32(len(lowered)), address32(first(body)), uint32(len(body)),
	}}
	return unsafe.Pointer(&answer)
}

func entriesOf(headers []contract.Header) []entry {
	lowered := make([]entry, len(headers))
	for i := range headers {
		lowered[i] = entry{spanOf(headers[i].Name), spanOf(headers[i].Value)}
	}
	return lowered
}

// Numbers copies a list of numbers that the host passes to an export.
func Numbers[T ~uint64](address, count uint32) []T {
	return append([]T{}, unsafe.Slice((*T)(pointer(uintptr(address))), count)...)
}

// Forget is what follows an export once the host has read its result.
func Forget() { kept = [3]any{} }
