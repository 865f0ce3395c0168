package holdfast_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/holdfasttest"
)

func TestAMissingValueIsNilAndAnEmptyOneIsNot(t *testing.T) {
	storage := holdfasttest.NewHost("a").Context().Storage
	if value, err := storage.Get("k"); value != nil || err != nil {
		t.Fatalf("missing: %v, %v", value, err)
	}
	if err := storage.Put("k", nil); err != nil {
		t.Fatal(err)
	}
	if value, err := storage.Get("k"); value == nil || len(value) != 0 || err != nil {
		t.Fatalf("empty: %v, %v", value, err)
	}
}

func TestJSONValues(t *testing.T) {
	storage := holdfasttest.NewHost("a").Context().Storage
	type move struct{ From, To string }
	var read move
	if found, err := storage.GetJSON("m", &read); found || err != nil {
		t.Fatalf("missing: %v, %v", found, err)
	}
	if err := storage.PutJSON("m", move{"e2", "e4"}); err != nil {
		t.Fatal(err)
	}
	if found, err := storage.GetJSON("m", &read); !found || err != nil || read != (move{"e2", "e4"}) {
		t.Fatalf("%v, %v, %v", read, found, err)
	}
	var number int
	if _, err := storage.GetJSON("m", &number); err == nil || !strings.Contains(err.Error(), `"m"`) {
		t.Fatalf("an error that names the key: %v", err)
	}
	if err := storage.PutJSON("m", func() {}); err == nil || !strings.Contains(err.Error(), `"m"`) {
		t.Fatalf("an error that names the key: %v", err)
	}
}

func TestListReadsInBatchesAndCanBeLeft(t *testing.T) {
	storage := holdfasttest.NewHost("a").Context().Storage
	for i := range 600 {
		if err := storage.PutJSON(strings.Repeat("k", i+1), i); err != nil {
			t.Fatal(err)
		}
	}
	count := 0
	for entry, err := range storage.List() {
		var value int
		if err != nil || entry.JSON(&value) != nil || value != count {
			t.Fatalf("entry %d: %v, %v", count, entry, err)
		}
		count++
	}
	if count != 600 {
		t.Fatalf("%d entries", count)
	}
	var keys []string
	for entry, err := range storage.List(holdfast.Prefix("kkk"), holdfast.End("kkkkkk"), holdfast.Reverse(), holdfast.Limit(2)) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, entry.Key)
		if len(keys) == 2 {
			break
		}
	}
	if !reflect.DeepEqual(keys, []string{"kkkkk", "kkkk"}) {
		t.Fatal(keys)
	}
	for _, err := range storage.List(holdfast.Limit(0)) {
		if !errors.Is(err, holdfast.ErrBadRange) {
			t.Fatal(err)
		}
	}
}

func TestATransactionCountsAsAWholeOrNotAtAll(t *testing.T) {
	host := holdfasttest.NewHost("a")
	storage := host.Context().Storage
	put := func(key string, err error) func() error {
		return func() error {
			if err := storage.Put(key, nil); err != nil {
				return err
			}
			return err
		}
	}
	wrong := errors.New("wrong")
	if err := storage.Transaction(put("undone", wrong)); err != wrong {
		t.Fatal(err)
	}
	if err := storage.Transaction(put("kept", nil)); err != nil {
		t.Fatal(err)
	}
	err := storage.Transaction(func() error {
		if err := storage.Transaction(put("inner", wrong)); err != wrong {
			t.Fatal(err)
		}
		if err := storage.DeleteAll(); !errors.Is(err, holdfast.ErrSavepointOpen) {
			t.Fatal(err)
		}
		return put("outer", nil)()
	})
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { recover() }()
		storage.Transaction(func() error {
			put("panicked", nil)()
			panic("wrong")
		})
	}()
	entries, err := storage.GetMany("undone", "kept", "inner", "outer", "panicked")
	if len(entries) != 2 || entries[0].Key != "kept" || entries[1].Key != "outer" || err != nil {
		t.Fatal(entries, err)
	}
}

func TestRefusalsHaveCasesAndWords(t *testing.T) {
	storage := holdfasttest.NewHost("a").Context().Storage
	err := storage.Put(strings.Repeat("k", 2049), nil)
	var refusal *holdfast.RefusedError
	if !errors.Is(err, holdfast.ErrKeySize) || errors.Is(err, holdfast.ErrValueSize) || !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	if want := "a key of 2049 bytes: keys are 1 to 2,048 bytes long"; refusal.Error() != want {
		t.Fatalf("%q", refusal.Error())
	}
	if _, err := storage.GetMany(make([]string, 129)...); !errors.Is(err, holdfast.ErrTooMany) {
		t.Fatal(err)
	}
}

func TestAnAlarmIsNeverRoundedToAnEarlierTime(t *testing.T) {
	host := holdfasttest.NewHost("a")
	alarm := host.Context().Alarm
	if err := alarm.Set(time.Now()); !errors.Is(err, holdfast.ErrNoHandler) {
		t.Fatal(err)
	}
	host.AlarmHandler = true
	for nanos, millis := range map[int64]int64{1: 1, 999_999: 1, 1_000_000: 1, 1_000_001: 2, 1_999_999_999: 2000} {
		if err := alarm.Set(time.Unix(0, nanos)); err != nil || host.AlarmTime() != time.UnixMilli(millis) {
			t.Errorf("%d ns: %v, %v", nanos, host.AlarmTime(), err)
		}
	}
	last := time.UnixMilli(1<<53 - 1)
	if err := alarm.Set(last); err != nil || !host.AlarmTime().Equal(last) {
		t.Fatal(host.AlarmTime(), err)
	}
	for _, bad := range []time.Time{{}, time.Unix(0, 0), time.Unix(-1, 0), time.UnixMilli(1 << 53), time.Unix(1<<62, 0)} {
		if err := alarm.Set(bad); !errors.Is(err, holdfast.ErrBadTime) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if at, err := alarm.Get(); !at.Equal(last) || err != nil {
		t.Fatal(at, err)
	}
	if err := alarm.Delete(); err != nil {
		t.Fatal(err)
	}
	if at, err := alarm.Get(); !at.IsZero() || err != nil {
		t.Fatal(at, err)
	}
}

func TestSockets(t *testing.T) {
	host := holdfasttest.NewHost("a")
	sockets := host.Context().Sockets
	if _, err := sockets.Accept(); !errors.Is(err, holdfast.ErrNotAnUpgrade) {
		t.Fatal(err)
	}
	host.Upgrade = true
	a, err := sockets.Accept("red", "blue")
	if err != nil {
		t.Fatal(err)
	}
	host.Upgrade = true
	b, err := sockets.Accept("red")
	if err != nil {
		t.Fatal(err)
	}
	if got := sockets.Tagged("blue"); !reflect.DeepEqual(got, []holdfast.Socket{a}) {
		t.Fatal(got)
	}
	if n, err := sockets.BroadcastTo("red", holdfast.Text("hi")); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if err := b.Close(4000, "bye"); err != nil {
		t.Fatal(err)
	}
	if err := b.Send(holdfast.Binary{1}); !errors.Is(err, holdfast.ErrClosing) {
		t.Fatal(err)
	}
	if err := a.Close(1<<16+1000, ""); !errors.Is(err, holdfast.ErrBadCode) {
		t.Fatal("a code is not cut:", err)
	}
	if got := sockets.All(); !reflect.DeepEqual(got, []holdfast.Socket{a}) {
		t.Fatal(got)
	}
	if none := len(sockets.Tagged("")); none != 0 {
		t.Fatal("no socket has an empty tag")
	}
	if attachment, err := a.Attachment(); attachment != nil || err != nil {
		t.Fatal(attachment, err)
	}
	if err := a.SetAttachment([]byte("ann")); err != nil {
		t.Fatal(err)
	}
	if attachment, err := a.Attachment(); string(attachment) != "ann" || err != nil {
		t.Fatal(attachment, err)
	}
	if err := sockets.ByID(99).Send(holdfast.Text("")); !errors.Is(err, holdfast.ErrUnknownSocket) {
		t.Fatal(err)
	}
	if got := host.Sockets[b.ID()]; !got.Closed || got.CloseCode != 4000 || !reflect.DeepEqual(got.Received, []holdfast.Message{holdfast.Text("hi")}) {
		t.Fatal(got)
	}
}
