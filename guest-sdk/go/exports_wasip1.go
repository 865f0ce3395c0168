package holdfast

import (
	"log/slog"
	"runtime/debug"
	"unsafe"

	"holdfast.dev/holdfast/internal/canon"
	"holdfast.dev/holdfast/internal/contract"
	"holdfast.dev/holdfast/internal/turn"
)

func init() {
	// An object has little alive and thousands of neighbours: collecting after 2 MiB in place of 4 costs less than the memory does. The init
	// functions of a class come later and can set it to what they like.
	debug.SetGCPercent(50)
	slog.SetDefault(slog.New(&logHandler{host: contract.Current}))
}

//go:wasmexport holdfast:object/init-handler@0.2.0#init
func exportInit() unsafe.Pointer { return canon.Done(turn.Init()) }

//go:wasmexport holdfast:object/fetch-handler@0.2.0#fetch
func exportFetch(
	method, methodLength, uri, uriLength, headers, headerCount, body, bodyLength uint32,
) unsafe.Pointer {
	defer canon.Release()
	canon.MakeRoom(bodyLength)
	w := newResponseWriter()
	failure := turn.Run(func() error {
		r, err := newRequest(
			canon.Text(method, methodLength), canon.Text(uri, uriLength),
			canon.Headers(headers, headerCount), canon.Bytes(body, bodyLength),
		)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		return turn.Object.(Object).Fetch(w, r)
	})
	if failure != nil {
		return canon.Done(failure)
	}
	return canon.Respond(uint16(w.status), w.headers(), w.body)
}

//go:wasmexport cabi_post_holdfast:object/fetch-handler@0.2.0#fetch
func exportFetched(unsafe.Pointer) { canon.Forget() }
