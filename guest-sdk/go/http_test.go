package holdfast

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"holdfast.dev/holdfast/internal/contract"
)

func TestARequestIsOneOfNetHTTP(t *testing.T) {
	headers := []contract.Header{{Name: "host", Value: "h:1"}, {Name: "x-a", Value: "1"}, {Name: "x-a", Value: "\xff"}}
	r, err := newRequest("POST", "/a%2Fb/c?n=1&n=2", headers, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Method != "POST" || r.URL.Path != "/a/b/c" || r.URL.EscapedPath() != "/a%2Fb/c" || r.RequestURI != "/a%2Fb/c?n=1&n=2" || r.Host != "h:1" {
		t.Error(r.Method, r.URL, r.RequestURI, r.Host)
	}
	if !reflect.DeepEqual(r.Header, http.Header{"X-A": {"1", "\xff"}}) || !reflect.DeepEqual(r.URL.Query()["n"], []string{"1", "2"}) {
		t.Error(r.Header, r.URL.Query())
	}
	content, err := io.ReadAll(r.Body)
	if string(content) != "body" || err != nil || r.ContentLength != 4 {
		t.Error(content, err, r.ContentLength)
	}
	r.Body.Close()
	if _, err := r.Body.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
		t.Error("the body's bytes were overwritten:", err)
	}
	if _, err := newRequest("GET", "no path", nil, nil); err == nil {
		t.Error("no path")
	}
}

func TestAResponseIsWhatNetHTTPWouldSend(t *testing.T) {
	w := newResponseWriter()
	w.Header().Add("Set-Cookie", "b=2")
	w.Header().Add("Set-Cookie", "a=1")
	w.WriteHeader(http.StatusEarlyHints)
	w.WriteHeader(http.StatusCreated)
	w.Header().Set("X-Late", "1")
	w.WriteHeader(http.StatusTeapot)
	fmt.Fprint(w, "<html>", 1)
	want := []contract.Header{
		{Name: "content-type", Value: "text/html; charset=utf-8"}, {Name: "set-cookie", Value: "b=2"}, {Name: "set-cookie", Value: "a=1"},
	}
	if got := w.headers(); !reflect.DeepEqual(got, want) || w.status != http.StatusCreated || string(w.body) != "<html>1" {
		t.Error(got, w.status, string(w.body))
	}

	empty := newResponseWriter()
	if got := empty.headers(); len(got) != 0 || empty.status != http.StatusOK {
		t.Error(got, empty.status)
	}
}

func TestAMuxReturnsWhatItsHandlersReturn(t *testing.T) {
	wrong := errors.New("wrong")
	var object struct{ Mux }
	object.HandleFunc("GET /a/{x}", func(w http.ResponseWriter, r *http.Request) error {
		fmt.Fprint(w, r.PathValue("x"))
		return nil
	})
	object.HandleFunc("POST /a/{x}", func(http.ResponseWriter, *http.Request) error { return wrong })
	for _, try := range []struct {
		method, path string
		err          error
		status       int
		body         string
	}{
		{"GET", "/a/b%2Fc", nil, 200, "b/c"},
		{"POST", "/a/b", wrong, 200, ""},
		{"PUT", "/a/b", nil, 405, "Method Not Allowed\n"},
		{"GET", "/b", nil, 404, "404 page not found\n"},
	} {
		w := httptest.NewRecorder()
		err := object.Fetch(w, httptest.NewRequest(try.method, try.path, nil))
		if err != try.err || w.Code != try.status || w.Body.String() != try.body {
			t.Errorf("%s %s: %v, %d, %q", try.method, try.path, err, w.Code, w.Body)
		}
	}
}
