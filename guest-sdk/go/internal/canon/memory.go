//go:build wasip1

package canon

import (
	"sync"
	"unsafe"
)

// place is where values are, laid out as the canonical ABI has them.
type place struct{ at unsafe.Pointer }

func (p place) plus(offset uintptr) place { return place{unsafe.Add(p.at, offset)} }

func (p place) u8(offset uintptr) uint8   { return *(*uint8)(unsafe.Add(p.at, offset)) }
func (p place) u32(offset uintptr) uint32 { return *(*uint32)(unsafe.Add(p.at, offset)) }
func (p place) u64(offset uintptr) uint64 { return *(*uint64)(unsafe.Add(p.at, offset)) }
func (p place) bool(offset uintptr) bool  { return p.u8(offset) != 0 }

// foreign is a string or a list of bytes where the host put it.
func (p place) foreign(offset uintptr) []byte { return foreign(p.u32(offset), p.u32(offset+4)) }

func (p place) text(offset uintptr) string { return string(p.foreign(offset)) }

// bytes are never nil.
func (p place) bytes(offset uintptr) []byte { return append([]byte{}, p.foreign(offset)...) }

// list calls read for each element of a list.
func (p place) list(offset, elementSize uintptr, read func(element place)) {
	element := place{pointer(uintptr(p.u32(offset)))}
	for range p.u32(offset + 4) {
		read(element)
		element = element.plus(elementSize)
	}
}

func (p place) texts(offset uintptr) []string {
	texts := make([]string, 0, p.u32(offset+4))
	p.list(offset, unsafe.Sizeof(span{}), func(element place) { texts = append(texts, element.text(0)) })
	return texts
}

func foreign(address, length uint32) []byte {
	return unsafe.Slice((*byte)(pointer(uintptr(address))), length)
}

// Text is a copy of the text that the host passes to an export.
func Text(address, length uint32) string { return string(foreign(address, length)) }

// span is a string or a list within a value that is passed to the host.
type span struct{ address, length uint32 }

func spanOf(text string) span {
	return span{address32(unsafe.Pointer(unsafe.StringData(text))), uint32(len(text))}
}

func spansOf(texts []string) []span {
	spans := make([]span, len(texts))
	for i, text := range texts {
		spans[i] = spanOf(text)
	}
	return spans
}

func address32(pointer unsafe.Pointer) uint32 { return uint32(uintptr(pointer)) }

// first is where the elements of a list are.
func first[T any](list []T) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(list)) }

// shared is bytes as the text that imports take for them, without a copy.
func shared(bytes []byte) string { return unsafe.String(unsafe.SliceData(bytes), len(bytes)) }

// option is an optional text in two parts.
func option(text *string) (some int32, value string) {
	if text == nil {
		return 0, ""
	}
	return 1, *text
}

// calls is held from before an import is called until what it returned is copied. Another goroutine may run meanwhile, since copying
// allocates, and its calls use the same memory.
var calls sync.Mutex

// results is where imports put what they return.
var results [8]uint64

func begin() place {
	calls.Lock()
	return place{unsafe.Pointer(&results)}
}

func end() {
	imported.reset()
	calls.Unlock()
}
