//go:build wasip1

package canon

import "unsafe"

// arena hands out memory in which the host puts what it passes in. It is none of the garbage collector's business: first a fixed
// piece of the program's own data, and beyond it blocks from where the heap has its memory from. All of it is given back at once.
type arena struct {
	fixed [64 << 10]byte
	// next and end bound what is free of the piece in use.
	next, end uintptr
	// newest is the address of the block taken last. Not a pointer: the collector would look at what it points to, even after
	// that has become the heap's.
	newest uintptr
}

// block is the head of memory taken from the runtime.
type block struct {
	older, size uintptr
}

// blockMin keeps many small allocations from taking a block each. A multiple of WebAssembly's page.
const blockMin = 256 << 10

// imported is for what imports return; the holder of calls resets it. exported is for the parameters of exports.
var imported, exported arena

// sysAlloc takes whole pages of memory from the runtime, outside of the heap; nil if there are none. Growing memory by itself would not
// do: the runtime takes all that comes after its own for its own. It allocates nothing by itself and calls nothing.
//
//go:linkname sysAlloc runtime.sysAllocOS
func sysAlloc(n uintptr, name string) unsafe.Pointer

// sysFree makes memory from sysAlloc the runtime's to use again, for the heap, too.
//
//go:linkname sysFree runtime.sysFreeOS
func sysFree(memory unsafe.Pointer, n uintptr)

func (a *arena) alloc(size, align uintptr) unsafe.Pointer {
	if a.end == 0 {
		a.use(uintptr(unsafe.Pointer(&a.fixed)), unsafe.Sizeof(a.fixed))
	}
	at := (a.next + align - 1) &^ (align - 1)
	if at+size > a.end {
		if !a.grow(size + align + unsafe.Sizeof(block{})) {
			return nil
		}
		at = (a.next + align - 1) &^ (align - 1)
	}
	a.next = at + size
	return pointer(at)
}

func (a *arena) use(start, size uintptr) {
	a.next, a.end = start, start+size
}

func (a *arena) grow(size uintptr) bool {
	size = max(blockMin, (size+wasmPage-1)&^(wasmPage-1))
	memory := sysAlloc(size, "arena")
	if memory == nil {
		return false
	}
	*(*block)(memory) = block{older: a.newest, size: size}
	a.newest = uintptr(memory)
	a.use(a.newest+unsafe.Sizeof(block{}), size-unsafe.Sizeof(block{}))
	return true
}

// reset gives everything back: what was allocated may not be read any more. Not while the host passes something in.
func (a *arena) reset() {
	for a.newest != 0 {
		memory := pointer(a.newest)
		head := *(*block)(memory)
		sysFree(memory, head.size)
		a.newest = head.older
	}
	a.use(uintptr(unsafe.Pointer(&a.fixed)), unsafe.Sizeof(a.fixed))
}

const wasmPage = 64 << 10

//go:wasmexport cabi_import_realloc
func reallocImported(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	return imported.realloc(old, oldSize, align, size)
}

//go:wasmexport cabi_export_realloc
func reallocExported(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	return exported.realloc(old, oldSize, align, size)
}

// reallocAdapter is for the adapter between the WASI that Go speaks and the host's: memory that it keeps. It asks before the runtime has
// begun, at the first call that that makes.
//
//go:wasmexport cabi_realloc_adapter
func reallocAdapter(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if old != nil {
		unreachable()
	}
	memory := sysAlloc(uintptr(size), "adapter")
	if memory == nil {
		unreachable()
	}
	return memory
}

func (a *arena) realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	memory := a.alloc(uintptr(size), uintptr(align))
	if memory == nil {
		unreachable()
	}
	if old != nil {
		copy(unsafe.Slice((*byte)(memory), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return memory
}

// unreachable ends the program. A panic would write its message, and nothing can be written while the host passes something in.
func unreachable()

// pointer is an address that the host knows, as a pointer.
func pointer(address uintptr) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(nil), address)
}
