// Short links, one object per person or team: PUT /NAME with a URL; GET /NAME redirects to it and counts the visit, until
// the link expires.
//
// Links are rows of a table. The object's alarm is set to the time when the next one expires, so an expired link is deleted
// without a request.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/alarm"
)

// Links are the links of one person. Its routes are in [newLinks].
type Links struct {
	holdfast.Mux
	ctx *holdfast.Context
}

// Link is a link, as answers have it.
type Link struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	Clicks int64  `json:"clicks"`
	// Expires is in milliseconds since the Unix epoch; nil for never.
	Expires *int64 `json:"expires,omitempty"`
}

func init() { holdfast.Register(newLinks) }

func main() {}

func newLinks(ctx *holdfast.Context) (holdfast.Object, error) {
	l := &Links{ctx: ctx}
	l.HandleFunc("GET /{$}", l.list)
	l.HandleFunc("PUT /{name}", l.put)
	l.HandleFunc("GET /{name}", l.follow)
	l.HandleFunc("DELETE /{name}", l.delete)
	return l, ctx.SQL.Migrate(
		"CREATE TABLE link (name TEXT PRIMARY KEY, target TEXT NOT NULL, clicks INTEGER NOT NULL DEFAULT 0, expires INTEGER)",
		"CREATE INDEX link_expires ON link (expires)",
	)
}

// put makes a link of the URL in the body, in place of any of the same name; for=24h makes it expire.
func (l *Links) put(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	link := Link{Name: r.PathValue("name"), Target: string(body)}
	if target, err := url.Parse(link.Target); err != nil || target.Host == "" {
		return problem(w, http.StatusBadRequest, "the body is no URL with a host: %q", link.Target)
	}
	if lasting := r.URL.Query().Get("for"); lasting != "" {
		duration, err := time.ParseDuration(lasting)
		if err != nil || duration <= 0 {
			return problem(w, http.StatusBadRequest, "for is no time to last: %q", lasting)
		}
		expires := time.Now().Add(duration).UnixMilli()
		link.Expires = &expires
	}
	const insert = "INSERT OR REPLACE INTO link (name, target, expires) VALUES (?, ?, ?)"
	if _, err := l.ctx.SQL.Exec(insert, link.Name, link.Target, link.Expires); err != nil {
		return err
	}
	if err := l.wake(); err != nil {
		return err
	}
	w.Header().Set("Location", r.Header.Get("X-Forwarded-Prefix")+"/"+url.PathEscape(link.Name))
	return answer(w, http.StatusCreated, link)
}

// follow redirects to a link's target.
func (l *Links) follow(w http.ResponseWriter, r *http.Request) error {
	const click = "UPDATE link SET clicks = clicks + 1 WHERE name = ? RETURNING target"
	var target string
	err := l.ctx.SQL.QueryRow(click, r.PathValue("name")).Scan(&target)
	if errors.Is(err, holdfast.ErrNoRows) {
		return notFound(w, r)
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, target, http.StatusFound)
	return nil
}

func (l *Links) list(w http.ResponseWriter, _ *http.Request) error {
	rows, err := l.ctx.SQL.Query("SELECT name, target, clicks, expires FROM link ORDER BY name LIMIT 1000")
	if err != nil {
		return err
	}
	defer rows.Close()
	links := []Link{}
	for rows.Next() {
		var link Link
		if err := rows.Scan(&link.Name, &link.Target, &link.Clicks, &link.Expires); err != nil {
			return err
		}
		links = append(links, link)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return answer(w, http.StatusOK, links)
}

func (l *Links) delete(w http.ResponseWriter, r *http.Request) error {
	done, err := l.ctx.SQL.Exec("DELETE FROM link WHERE name = ?", r.PathValue("name"))
	if err != nil {
		return err
	}
	if done.Changes == 0 {
		return notFound(w, r)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Alarm implements [alarm.Handler]: it deletes expired links.
func (l *Links) Alarm(alarm.Event) error {
	done, err := l.ctx.SQL.Exec("DELETE FROM link WHERE expires <= ?", time.Now().UnixMilli())
	if err != nil {
		return err
	}
	slog.Info("links expired", "count", done.Changes, "of", l.ctx.Name())
	return l.wake()
}

// wake sets the alarm to the time when the next link expires, if one does. If that link is deleted before, the alarm has
// nothing to do.
func (l *Links) wake() error {
	var next *int64
	if err := l.ctx.SQL.QueryRow("SELECT min(expires) FROM link").Scan(&next); err != nil || next == nil {
		return err
	}
	return l.ctx.Alarm.Set(time.UnixMilli(*next))
}

func answer(w http.ResponseWriter, status int, value any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(value)
}

// problem answers a mistake of the caller. The turn succeeds.
func problem(w http.ResponseWriter, status int, format string, args ...any) error {
	http.Error(w, fmt.Sprintf(format, args...), status)
	return nil
}

func notFound(w http.ResponseWriter, r *http.Request) error {
	return problem(w, http.StatusNotFound, "there is no link %s", r.PathValue("name"))
}
