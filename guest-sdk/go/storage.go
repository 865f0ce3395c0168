package holdfast

import (
	"encoding/json"
	"fmt"
	"iter"
	"math"

	"holdfast.dev/holdfast/internal/contract"
	"holdfast.dev/holdfast/internal/turn"
)

// Storage is the object's own map from strings to bytes, kept on disk and ordered by the keys' UTF-8 bytes; and what concerns all of
// its storage, the database of [SQL] included: [Storage.Transaction], [Storage.Size], [Storage.DeleteAll], [Storage.Sync].
//
// Reads see what this turn has written. What a turn wrote stays if it succeeds and is gone if it fails.
//
// A key is 1 to 2,048 bytes, key and value together at most 2,000,000 bytes, and the functions on many keys take up to 128 of them. What
// is over a limit is a [RefusedError] ([ErrKeySize], [ErrValueSize], [ErrTooMany]); it changed nothing.
type Storage struct{ host contract.Host }

// Entry is one key with its value.
type Entry struct {
	Key   string
	Value []byte
}

// JSON reads the value into what v points to.
func (e Entry) JSON(v any) error {
	if err := json.Unmarshal(e.Value, v); err != nil {
		return fmt.Errorf("reading the value of key %q: %w", e.Key, err)
	}
	return nil
}

// Get returns the value of a key, nil if the key does not exist. An empty value is not nil.
func (s *Storage) Get(key string) ([]byte, error) {
	value, _, err := s.host.Get(key)
	return value, refused(err)
}

// Put sets the value of a key, replacing any value it had.
func (s *Storage) Put(key string, value []byte) error {
	return refused(s.host.Put(key, value))
}

// GetJSON reads the value of a key into what v points to, as [json.Unmarshal] does. It returns false, and leaves v alone, if the key
// does not exist.
func (s *Storage) GetJSON(key string, v any) (bool, error) {
	value, found, err := s.host.Get(key)
	if err != nil || !found {
		return false, refused(err)
	}
	return true, Entry{key, value}.JSON(v)
}

// PutJSON sets the value of a key to v as JSON.
func (s *Storage) PutJSON(key string, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing the value of key %q: %w", key, err)
	}
	return s.Put(key, value)
}

// Delete removes a key and reports whether it existed.
func (s *Storage) Delete(key string) (bool, error) {
	existed, err := s.host.Delete(key)
	return existed, refused(err)
}

// GetMany returns the entries of these keys, sorted by key. Keys that do not exist are left out; repeated keys appear once.
func (s *Storage) GetMany(keys ...string) ([]Entry, error) {
	found, err := s.host.GetMany(keys)
	entries := make([]Entry, len(found))
	for i, entry := range found {
		entries[i] = Entry(entry)
	}
	return entries, refused(err)
}

// PutMany sets these entries, all or none of them. The last one counts where a key is repeated.
func (s *Storage) PutMany(entries ...Entry) error {
	given := make([]contract.Entry, len(entries))
	for i, entry := range entries {
		given[i] = contract.Entry(entry)
	}
	return refused(s.host.PutMany(given))
}

// DeleteMany removes these keys, all or none of them, and returns how many of them existed.
func (s *Storage) DeleteMany(keys ...string) (int, error) {
	existed, err := s.host.DeleteMany(keys)
	return existed, refused(err)
}

// A ListOption says what [Storage.List] returns.
type ListOption func(*contract.ListOptions)

// Start is the first key wanted. Not together with [StartAfter].
func Start(key string) ListOption { return func(o *contract.ListOptions) { o.Start = &key } }

// StartAfter is for only keys after this one. Not together with [Start].
func StartAfter(key string) ListOption { return func(o *contract.ListOptions) { o.StartAfter = &key } }

// End is for only keys before this one.
func End(key string) ListOption { return func(o *contract.ListOptions) { o.End = &key } }

// Prefix is for only keys that begin with this.
func Prefix(prefix string) ListOption { return func(o *contract.ListOptions) { o.Prefix = &prefix } }

// Reverse is for descending order. The other options keep their meaning.
func Reverse() ListOption { return func(o *contract.ListOptions) { o.Reverse = true } }

// Limit is for at most so many entries, at least 1.
func Limit(entries int) ListOption {
	limit := uint32(min(max(entries, 0), math.MaxUint32))
	return func(o *contract.ListOptions) { o.Limit = &limit }
}

// List iterates over the entries that the options select, all of them without options, in the order of their keys. It reads in batches,
// however long it is, and sees what the turn writes meanwhile. It ends at the first error; [ErrBadRange] if the options contradict
// each other.
//
//	for entry, err := range ctx.Storage.List(holdfast.Prefix("move:"), holdfast.Limit(20)) {
//		if err != nil {
//			return err
//		}
//		slog.Info(entry.Key, "value", entry.Value)
//	}
func (s *Storage) List(options ...ListOption) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var chosen contract.ListOptions
		for _, option := range options {
			option(&chosen)
		}
		entries, err := s.host.List(chosen)
		if err != nil {
			yield(Entry{}, refused(err))
			return
		}
		turn.Opened(entries)
		defer turn.Drop(entries)
		for {
			batch, err := entries.Next(batch)
			if err != nil {
				yield(Entry{}, refused(err))
				return
			}
			if len(batch) == 0 {
				return
			}
			for _, entry := range batch {
				if !yield(Entry(entry), nil) {
					return
				}
			}
		}
	}
}

// batch is how many entries or rows are asked for at once; the host also ends a batch at about 1 MiB.
const batch = 256

// Transaction runs work so that it counts as a whole or not at all: if it returns nil, what it wrote is part of the turn; if it returns an
// error or panics, that is undone, and the error is returned so that the turn can go on without it.
//
// This is for handlers that mean to go on after an error. Those that return it need no transaction: the turn is one. Inside, use
// storage, SQL and the alarm as everywhere. Transactions can be in each other, up to 32 deep: an inner one that was kept is undone
// with the outer one. The object's fields are memory and are not undone, nor is what was sent to sockets.
func (s *Storage) Transaction(work func() error) error {
	savepoint, err := s.host.OpenSavepoint()
	if err != nil {
		return refused(err)
	}
	// Undoes it, unless it was kept.
	defer savepoint.Drop()
	if err := work(); err != nil {
		return err
	}
	return refused(savepoint.Keep())
}

// Size is how many bytes the object's storage takes, keys and tables together and with what this turn has written: pages in use ×
// 4,096. 0 for an object that has stored nothing.
func (s *Storage) Size() (int64, error) {
	size, err := s.host.Size()
	return int64(size), refused(err)
}

// DeleteAll removes everything that is stored, keys, tables and the alarm, at once whatever its size. As part of the turn: it is undone when
// the turn fails.
//
// What the turn stores afterwards stays; if it stores nothing, the object ceases to exist. Tables that were created when the object was
// made are gone, too, so an object that goes on calls [SQL.Migrate] again. Open listings and rows are closed. Not in a transaction.
func (s *Storage) DeleteAll() error { return refused(s.host.DeleteAll()) }

// Sync makes durable what the turn has written so far before it goes on: that stays even if the turn fails later. It returns when it is on
// disk. Not in a transaction.
//
// Answers wait for the disk by themselves. This is for what must not be lost once it is visible outside.
func (s *Storage) Sync() error { return refused(s.host.Sync()) }
