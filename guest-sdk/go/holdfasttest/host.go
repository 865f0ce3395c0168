// Package holdfasttest is a host made of maps, for tests of classes that run with "go test" and without a server.
//
//	func TestCounting(t *testing.T) {
//		host := holdfasttest.NewHost("alice")
//		counter := &Counter{ctx: host.Context()}
//		for _, want := range []string{"1\n", "2\n"} {
//			w := httptest.NewRecorder()
//			if err := counter.Fetch(w, httptest.NewRequest("GET", "/", nil)); err != nil {
//				t.Fatal(err)
//			}
//			if got := w.Body.String(); got != want {
//				t.Errorf("got %q, want %q", got, want)
//			}
//		}
//	}
//
// It keeps the contract as far as classes notice: order and limits of keys, transactions, errors by their cases. It has no SQLite: what SQL
// answers is up to the test ([Host.SQL]). Tests with a database need a server.
package holdfasttest

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/contract"
	"holdfast.dev/holdfast/internal/packed"
	"holdfast.dev/holdfast/internal/turn"
)

// Host is a host with one object. Its fields may be set and read between calls.
type Host struct {
	// Name is the object's; empty for none.
	Name string
	// AlarmHandler says that the class has one; without it, setting an alarm is refused.
	AlarmHandler bool
	// Upgrade says that the request of this turn asks for a WebSocket; accepting one takes it back.
	Upgrade bool
	// Deferrable says that the answer of this turn can be deferred; deferring it takes that back.
	Deferrable bool
	// SQL answers statements. Parameters and values are nil, int64, float64, string or []byte. A [holdfast.RefusedError] is passed on.
	SQL func(text string, parameters []any) (columns []string, rows [][]any, err error)
	// Stored is what the object has stored.
	Stored map[string][]byte
	// Sockets are those that were accepted, by their ids, closed ones too.
	Sockets map[uint64]*Socket
	// Deferred are the answers that were deferred, by the order in which they were.
	Deferred []*Answer
	// Resumes are those that are scheduled, by their tokens.
	Resumes map[holdfast.Token]Resume
	// Held are the sockets that keep the instance in memory.
	Held []holdfast.Socket
	// Exclusive says that no other events come, and Dropped that the instance is to be dropped after this turn.
	Exclusive, Dropped bool
	// Log is what was logged.
	Log []LogEntry

	// alarm is in milliseconds since the Unix epoch, 0 for none.
	alarm        uint64
	savepoints   []saved
	autoResponse *contract.AutoResponse
	tokens       uint64
}

// Socket is a WebSocket as its peer sees it.
type Socket struct {
	Tags       []string
	Attachment []byte
	// Received are the messages sent to it.
	Received []holdfast.Message
	// Closed says that the object closed it, with CloseCode (0 for none) and Reason.
	Closed    bool
	CloseCode int
	Reason    string
}

// LogEntry is one entry of the log.
type LogEntry struct {
	Level, Message string
	Fields         map[string]string
}

// saved is what a savepoint goes back to.
type saved struct {
	stored map[string][]byte
	alarm  uint64
}

// NewHost makes a host with an object of this name that has stored nothing.
func NewHost(name string) *Host {
	return &Host{
		Name: name, Stored: map[string][]byte{}, Sockets: map[uint64]*Socket{}, Resumes: map[holdfast.Token]Resume{},
	}
}

// Context is what the object is given.
func (h *Host) Context() *holdfast.Context { return turn.NewContext(fake{h}).(*holdfast.Context) }

// AlarmTime is when the alarm will come; the zero time if it is not set.
func (h *Host) AlarmTime() time.Time {
	if h.alarm == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(h.alarm))
}

// Turn runs what a handler does as a turn: if it returns an error, what it stored and the alarm that it set are undone.
func (h *Host) Turn(handler func() error) error {
	before := h.save()
	err := handler()
	if err != nil {
		h.restore(before)
	}
	return err
}

func (h *Host) save() saved { return saved{maps.Clone(h.Stored), h.alarm} }

func (h *Host) restore(before saved) { h.Stored, h.alarm = before.stored, before.alarm }

// fake is the host as the SDK calls it.
type fake struct{ *Host }

func refuse(in contract.Interface, name string, a, b int64) error {
	return &contract.Refusal{Interface: in, Case: name, A: a, B: b}
}

func (f fake) ID() string { return strings.Repeat("0", 64) }

func (f fake) Name() (string, bool) { return f.Host.Name, f.Host.Name != "" }

func (f fake) Class() string { return "class" }

func checkKeys(keys ...string) error {
	if len(keys) > 128 {
		return refuse(contract.KeyValue, "too-many", int64(len(keys)), 0)
	}
	for _, key := range keys {
		if len(key) == 0 || len(key) > 2048 {
			return refuse(contract.KeyValue, "key-size", int64(len(key)), 0)
		}
	}
	return nil
}

func (f fake) Get(key string) ([]byte, bool, error) {
	if err := checkKeys(key); err != nil {
		return nil, false, err
	}
	value, found := f.Stored[key]
	if !found {
		return nil, false, nil
	}
	return append([]byte{}, value...), true, nil
}

func (f fake) GetMany(keys []string) ([]contract.Entry, error) {
	if err := checkKeys(keys...); err != nil {
		return nil, err
	}
	keys = slices.Clone(keys)
	slices.Sort(keys)
	var entries []contract.Entry
	for _, key := range slices.Compact(keys) {
		if value, found := f.Stored[key]; found {
			entries = append(entries, contract.Entry{Key: key, Value: bytes.Clone(value)})
		}
	}
	return entries, nil
}

func (f fake) Put(key string, value []byte) error {
	return f.PutMany([]contract.Entry{{Key: key, Value: value}})
}

func (f fake) PutMany(entries []contract.Entry) error {
	keys := make([]string, len(entries))
	for i, entry := range entries {
		keys[i] = entry.Key
	}
	if err := checkKeys(keys...); err != nil {
		return err
	}
	for _, entry := range entries {
		if size := len(entry.Key) + len(entry.Value); size > 2_000_000 {
			return refuse(contract.KeyValue, "value-size", int64(size), 0)
		}
	}
	for _, entry := range entries {
		f.Stored[entry.Key] = append([]byte{}, entry.Value...)
	}
	return nil
}

func (f fake) Delete(key string) (bool, error) {
	existed, err := f.DeleteMany([]string{key})
	return existed > 0, err
}

func (f fake) DeleteMany(keys []string) (int, error) {
	if err := checkKeys(keys...); err != nil {
		return 0, err
	}
	before := len(f.Stored)
	for _, key := range keys {
		delete(f.Stored, key)
	}
	return before - len(f.Stored), nil
}

func (f fake) List(options contract.ListOptions) (contract.Entries, error) {
	if options.Start != nil && options.StartAfter != nil || options.Limit != nil && *options.Limit == 0 {
		return nil, refuse(contract.KeyValue, "bad-range", 0, 0)
	}
	var keys []string
	for key := range f.Stored {
		if (options.Start == nil || key >= *options.Start) && (options.StartAfter == nil || key > *options.StartAfter) &&
			(options.End == nil || key < *options.End) && (options.Prefix == nil || strings.HasPrefix(key, *options.Prefix)) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if options.Reverse {
		slices.Reverse(keys)
	}
	if options.Limit != nil && int(*options.Limit) < len(keys) {
		keys = keys[:*options.Limit]
	}
	return &entries{f, keys}, nil
}

// entries is a listing: the keys that are left of it.
type entries struct {
	fake
	keys []string
}

func (e *entries) Next(max uint32) ([]contract.Entry, error) {
	var batch []contract.Entry
	for len(e.keys) > 0 && len(batch) < int(max) {
		if value, found := e.Stored[e.keys[0]]; found {
			batch = append(batch, contract.Entry{Key: e.keys[0], Value: bytes.Clone(value)})
		}
		e.keys = e.keys[1:]
	}
	return batch, nil
}

func (*entries) Drop() {}

func (f fake) Exec(text string, parameters []any) (contract.ExecResult, error) {
	if f.SQL == nil {
		return contract.ExecResult{}, &contract.Refusal{
			Interface: contract.SQL, Case: "other", Text: "holdfasttest has no SQLite: set Host.SQL",
		}
	}
	columns, rows, err := f.SQL(text, parameters)
	if refusal, ok := err.(*holdfast.RefusedError); ok {
		err = &contract.Refusal{
			Interface: contract.SQL, Case: string(refusal.Case), Text: refusal.Message, A: int64(refusal.SQLiteCode),
		}
	}
	if err != nil || columns == nil {
		return contract.ExecResult{}, err
	}
	// As the host does it: the first rows with the names, the rest in batches.
	rest := &cursor{rows}
	first, _ := rest.Next(256)
	return contract.ExecResult{Packed: append(packed.AppendHead(nil, columns), first...), More: rest}, nil
}

// cursor is the rows that are left of a result.
type cursor struct{ rows [][]any }

func (c *cursor) Next(max uint32) ([]byte, error) {
	count := min(len(c.rows), int(max))
	var batch []byte
	for _, row := range c.rows[:count] {
		batch = packed.Append(batch, row...)
	}
	c.rows = c.rows[count:]
	return batch, nil
}

func (*cursor) Drop() {}

func (f fake) OpenSavepoint() (contract.Savepoint, error) {
	if len(f.savepoints) == 32 {
		return nil, refuse(contract.Storage, "too-deep", 32, 0)
	}
	f.savepoints = append(f.savepoints, f.save())
	return &savepoint{f, len(f.savepoints) - 1, false}, nil
}

type savepoint struct {
	fake
	depth int
	kept  bool
}

func (s *savepoint) Keep() error {
	s.savepoints, s.kept = s.savepoints[:s.depth], true
	return nil
}

func (s *savepoint) Drop() {
	if !s.kept {
		s.restore(s.savepoints[s.depth])
		s.savepoints = s.savepoints[:s.depth]
	}
}

func (f fake) Size() (uint64, error) {
	var size uint64
	for key, value := range f.Stored {
		size += uint64(len(key) + len(value))
	}
	return (size + 4095) / 4096 * 4096, nil
}

func (f fake) DeleteAll() error {
	if len(f.savepoints) > 0 {
		return refuse(contract.Storage, "savepoint-open", 0, 0)
	}
	f.restore(saved{stored: map[string][]byte{}})
	return nil
}

func (f fake) Sync() error {
	if len(f.savepoints) > 0 {
		return refuse(contract.Storage, "savepoint-open", 0, 0)
	}
	return nil
}

func (f fake) Alarm() (uint64, bool, error) { return f.alarm, f.alarm != 0, nil }

func (f fake) SetAlarm(millis uint64) error {
	switch {
	case !f.AlarmHandler:
		return refuse(contract.Alarms, "no-handler", 0, 0)
	case millis == 0 || millis >= 1<<53:
		return refuse(contract.Alarms, "bad-time", 0, 0)
	}
	f.alarm = millis
	return nil
}

func (f fake) DeleteAlarm() error {
	f.alarm = 0
	return nil
}

func (f fake) Log(level contract.Level, message string, fields []contract.Field) {
	names := [...]string{"trace", "debug", "info", "warn", "error"}
	entry := LogEntry{Level: names[level], Message: message, Fields: map[string]string{}}
	for _, field := range fields {
		entry.Fields[field.Name] = field.Value
	}
	f.Host.Log = append(f.Host.Log, entry)
}
