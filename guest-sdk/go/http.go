package holdfast

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"holdfast.dev/holdfast/internal/contract"
)

// newRequest is a request of the contract as net/http has it. Its body reads from the bytes given here.
func newRequest(method, uri string, headers []contract.Header, content []byte) (*http.Request, error) {
	target, err := url.ParseRequestURI(uri)
	if err != nil {
		return nil, Errorf("invalid-request", "uri: %w", err)
	}
	r := &http.Request{
		Method: method, URL: target, RequestURI: uri,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, len(headers)), Body: http.NoBody, ContentLength: int64(len(content)),
	}
	for _, header := range headers {
		r.Header.Add(header.Name, header.Value)
	}
	// As a server of net/http has it.
	r.Host = r.Header.Get("Host")
	r.Header.Del("Host")
	if len(content) > 0 {
		r.Body = &body{bytes.NewReader(content)}
	}
	return r, nil
}

// body is a request's. It is closed when its turn ends, for its bytes are the handler's until then only.
type body struct{ content *bytes.Reader }

func (b *body) Read(p []byte) (int, error) {
	if b.content == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.content.Read(p)
}

// WriteTo saves [io.Copy] its buffer.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	if b.content == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.content.WriteTo(w)
}

func (b *body) Close() error {
	b.content = nil
	return nil
}

// responseWriter keeps the response: it is whole when the handler returns.
type responseWriter struct {
	header http.Header
	// status is 0 until the header is written, and sent is what it was then.
	status int
	sent   http.Header
	body   []byte
}

func newResponseWriter() *responseWriter { return &responseWriter{header: http.Header{}} }

func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader takes the first status that is final. There are no informational responses: 101 is the answer to one that asks for
// a WebSocket.
func (w *responseWriter) WriteHeader(status int) {
	informational := status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols
	if w.status == 0 && !informational {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *responseWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *responseWriter) WriteString(text string) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, text...)
	return len(text), nil
}

// headers are those of the response, sorted by name; the values of each in their order.
func (w *responseWriter) headers() []contract.Header {
	w.WriteHeader(http.StatusOK)
	if _, set := w.sent["Content-Type"]; !set && w.sent.Get("Content-Encoding") == "" && len(w.body) > 0 {
		w.sent.Set("Content-Type", http.DetectContentType(w.body))
	}
	var headers []contract.Header
	for name, values := range w.sent {
		for _, value := range values {
			headers = append(headers, contract.Header{Name: strings.ToLower(name), Value: value})
		}
	}
	slices.SortStableFunc(headers, func(a, b contract.Header) int { return strings.Compare(a.Name, b.Name) })
	return headers
}
