package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast.dev/holdfast/holdfasttest"
)

// An invalid link never reaches the database, which only a server has: README.md tests the rest.
func TestWhatIsNoLinkIsRefused(t *testing.T) {
	host := holdfasttest.NewHost("ann")
	host.SQL = func(text string, _ []any) ([]string, [][]any, error) {
		if strings.HasPrefix(text, "INSERT OR REPLACE") {
			t.Errorf("stored: %s", text)
		}
		return []string{}, nil, nil
	}
	links, err := newLinks(host.Context())
	if err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]string{"/a": "no URL", "/b": "", "/c?for=ever": "https://example.org", "/d?for=-1h": "https://example.org"} {
		w := httptest.NewRecorder()
		if err := links.Fetch(w, httptest.NewRequest("PUT", path, strings.NewReader(body))); err != nil || w.Code != 400 {
			t.Errorf("%s: %v, %d, %s", path, err, w.Code, w.Body)
		}
	}
}

func TestTheAlarmIsSetToTheNextExpiry(t *testing.T) {
	host := holdfasttest.NewHost("ann")
	host.AlarmHandler = true
	var expires any
	host.SQL = func(text string, _ []any) ([]string, [][]any, error) {
		if strings.Contains(text, "min(expires)") {
			return []string{"min(expires)"}, [][]any{{expires}}, nil
		}
		return []string{}, nil, nil
	}
	links := &Links{ctx: host.Context()}
	if err := links.wake(); err != nil || !host.AlarmTime().IsZero() {
		t.Fatal("nothing expires:", host.AlarmTime(), err)
	}
	expires = int64(1_767_225_600_000)
	if err := links.wake(); err != nil || !host.AlarmTime().Equal(time.UnixMilli(1_767_225_600_000)) {
		t.Fatal(host.AlarmTime(), err)
	}
}
