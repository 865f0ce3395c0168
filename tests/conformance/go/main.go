// The class of docs/CONFORMANCE.md in Go: its handlers. Scripts are in script.go, their words in words.go.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/alarm"
	_ "holdfast.dev/holdfast/late"
	"holdfast.dev/holdfast/websocket"
)

// Conformance is one object of the class.
type Conformance struct {
	ctx *holdfast.Context
	mux *http.ServeMux
	// count is the in-memory counter.
	count int
	late  lateWork
}

func init() { holdfast.Register(newKit) }

func main() {}

func newKit(ctx *holdfast.Context) (holdfast.Object, error) {
	conformance := &Conformance{ctx: ctx, mux: http.NewServeMux()}
	conformance.mux.HandleFunc("GET /status/{number}", status)
	conformance.mux.HandleFunc("GET /refuse", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	if !strings.HasPrefix(ctx.Name(), "init") {
		return conformance, nil
	}
	inits, err := ctx.Storage.Get("inits")
	if err != nil {
		return nil, err
	}
	n, _ := strconv.Atoi(string(inits))
	if err := ctx.Storage.Put("inits", []byte(strconv.Itoa(n+1))); err != nil {
		return nil, err
	}
	if ctx.Name() == "init-fails" {
		return nil, holdfast.Errorf("bad-name", "not to be made")
	}
	return conformance, nil
}

// Fetch implements [holdfast.Object].
func (k *Conformance) Fetch(w http.ResponseWriter, r *http.Request) error {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/echo"):
		return echo(w, r)
	case strings.HasPrefix(path, "/accept/"):
		return k.accept(w, r)
	case strings.HasPrefix(path, "/accept-held/"):
		return k.accept(w, r)
	case strings.HasPrefix(path, "/accept-later/"):
		return k.acceptLater(r)
	case path == "/run" && r.Method == http.MethodPost:
		script, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		return k.begin(string(script), turn{}, func(answers string, deferred *holdfast.Deferred) error {
			if deferred != nil {
				return deferred.Respond(func(w http.ResponseWriter) { io.WriteString(w, answers) })
			}
			_, err := io.WriteString(w, answers)
			return err
		})
	}
	k.mux.ServeHTTP(w, r)
	return nil
}

func echo(w http.ResponseWriter, r *http.Request) error {
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("X-Method", r.Method)
	header.Set("X-Uri", r.RequestURI)
	if values := r.Header.Values("X-Case"); len(values) > 0 {
		header.Set("X-Case", strings.Join(values, ", "))
	}
	_, err := io.Copy(w, r.Body)
	return err
}

func status(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.PathValue("number"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Add("Set-Cookie", "a=1")
	w.Header().Add("Set-Cookie", "b=2")
	w.WriteHeader(number)
}

// accept answers /accept/PROTOCOL/TAG/TAG… and /accept-held/PROTOCOL.
func (k *Conformance) accept(w http.ResponseWriter, r *http.Request) error {
	words, err := segments(r)
	if err != nil {
		return err
	}
	socket, err := k.ctx.Sockets.Accept(words[2:]...)
	if err == nil && words[0] == "accept-held" {
		err = k.ctx.Late.HoldFor(socket)
	}
	if err != nil {
		return refuse(w, err)
	}
	switchProtocols(w, words[1])
	return nil
}

// acceptLater answers /accept-later/MS/PROTOCOL/TAG/TAG…
func (k *Conformance) acceptLater(r *http.Request) error {
	words, err := segments(r)
	if err != nil {
		return err
	}
	return k.begin("wait "+words[1], turn{}, func(_ string, deferred *holdfast.Deferred) error {
		if _, err := deferred.Accept(words[3:]...); err != nil {
			return err
		}
		return deferred.Respond(func(w http.ResponseWriter) { switchProtocols(w, words[2]) })
	})
}

func segments(r *http.Request) ([]string, error) {
	words := strings.Split(r.URL.EscapedPath(), "/")[1:]
	for i, word := range words {
		decoded, err := url.PathUnescape(word)
		if err != nil {
			return nil, err
		}
		words[i] = decoded
	}
	return words, nil
}

func refuse(w http.ResponseWriter, err error) error {
	refusal, err := inCase(err)
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusConflict)
	fmt.Fprintln(w, refusal)
	return nil
}

func switchProtocols(w http.ResponseWriter, protocol string) {
	if protocol != "-" {
		w.Header().Set("Sec-WebSocket-Protocol", protocol)
	}
	w.WriteHeader(http.StatusSwitchingProtocols)
}

// Alarm implements [alarm.Handler].
func (k *Conformance) Alarm(event alarm.Event) error {
	if err := k.record("alarm %d %d", event.Scheduled.UnixMilli(), event.RetryCount); err != nil {
		return err
	}
	script, err := k.ctx.Storage.Get("on-alarm")
	if err != nil {
		return err
	}
	return k.begin(string(script), turn{alarm: &event}, func(_ string, deferred *holdfast.Deferred) error {
		return done(deferred)
	})
}

// WebSocketMessage implements [websocket.Handler].
func (k *Conformance) WebSocketMessage(socket holdfast.Socket, message holdfast.Message) error {
	script, isText := message.(holdfast.Text)
	if !isText {
		return socket.Send(message)
	}
	return k.begin(string(script), turn{socket: &socket}, func(answers string, deferred *holdfast.Deferred) error {
		if err := socket.Send(holdfast.Text(answers)); err != nil {
			return err
		}
		return done(deferred)
	})
}

// WebSocketClose implements [websocket.Handler].
func (k *Conformance) WebSocketClose(_ holdfast.Socket, event websocket.CloseEvent) error {
	return k.record("close %d %s %t", event.Code, encode(event.Reason), event.WasClean)
}

// WebSocketError implements [websocket.Handler].
func (k *Conformance) WebSocketError(holdfast.Socket, websocket.ErrorEvent) error {
	return k.record("error")
}

// record adds a line to the text under the key `events`.
func (k *Conformance) record(format string, args ...any) error {
	events, err := k.ctx.Storage.Get("events")
	if err != nil {
		return err
	}
	return k.ctx.Storage.Put("events", fmt.Appendf(events, format+"\n", args...))
}
