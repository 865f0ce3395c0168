package holdfast

import "net/http"

// Mux is [http.ServeMux] for handlers that return errors, which fail the turn. Embed one, and the class has its Fetch:
//
//	type Counter struct {
//		holdfast.Mux
//		ctx *holdfast.Context
//	}
//
//	func newCounter(ctx *holdfast.Context) (holdfast.Object, error) {
//		c := &Counter{ctx: ctx}
//		c.HandleFunc("GET /{$}", c.show)
//		c.HandleFunc("POST /add/{n}", c.add)
//		return c, nil
//	}
type Mux struct{ mux http.ServeMux }

// HandleFunc has requests that match the pattern answered by the handler. Patterns are those of [http.ServeMux].
func (m *Mux) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request) error) {
	m.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		returns := w.(*returning)
		returns.err = handler(returns.ResponseWriter, r)
	})
}

// Fetch implements [Object]. What matches no pattern is answered as [http.ServeMux] does it.
func (m *Mux) Fetch(w http.ResponseWriter, r *http.Request) error {
	returns := &returning{ResponseWriter: w}
	m.mux.ServeHTTP(returns, r)
	return returns.err
}

// returning brings a handler's error past [http.ServeMux].
type returning struct {
	http.ResponseWriter
	err error
}
