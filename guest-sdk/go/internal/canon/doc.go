// Package canon speaks the canonical ABI of the component model: it is the host's functions as Go functions, and the helpers with which
// exports read their parameters and write their results. Only in WebAssembly; written by hand for the interfaces in wit/.
//
// What must stay true:
//
//   - While the host passes something in, the component may not call out. The host calls an allocator then, and Go's own may begin a
//     garbage collection, which asks for the time: so memory for what comes in is never Go's (arena.go).
//   - Addresses are given to the host only of what cannot move: the heap and package variables, never a goroutine's stack.
//   - Nothing that Go allocates is referred to by number alone while Go may collect: numbers are made right before a call.
package canon
