//go:build wasip1

package canon

import (
	"runtime"
	"unsafe"

	"holdfast.dev/holdfast/internal/contract"
)

func (host) Get(key string) (value []byte, ok bool, err error) {
	result := begin()
	defer end()
	keyValueGet(key, result.at)
	if err := keyValueErrors.in(result, 4); err != nil || !result.bool(4) {
		return nil, false, err
	}
	return result.bytes(8), true, nil
}

func (host) GetMany(keys []string) ([]contract.Entry, error) {
	lowered := spansOf(keys)
	result := begin()
	defer end()
	keyValueGetMany(first(lowered), uint32(len(lowered)), result.at)
	runtime.KeepAlive(keys)
	return result.entries()
}

func (host) Put(key string, value []byte) error {
	result := begin()
	defer end()
	keyValuePut(key, shared(value), result.at)
	return keyValueErrors.in(result, 4)
}

func (host) PutMany(entries []contract.Entry) error {
	lowered := make([]entry, len(entries))
	for i := range entries {
		lowered[i] = entry{spanOf(entries[i].Key), spanOf(shared(entries[i].Value))}
	}
	result := begin()
	defer end()
	keyValuePutMany(first(lowered), uint32(len(lowered)), result.at)
	runtime.KeepAlive(entries)
	return keyValueErrors.in(result, 4)
}

func (host) Delete(key string) (existed bool, err error) {
	result := begin()
	defer end()
	keyValueDelete(key, result.at)
	if err := keyValueErrors.in(result, 4); err != nil {
		return false, err
	}
	return result.bool(4), nil
}

func (host) DeleteMany(keys []string) (existed int, err error) {
	lowered := spansOf(keys)
	result := begin()
	defer end()
	keyValueDeleteMany(first(lowered), uint32(len(lowered)), result.at)
	runtime.KeepAlive(keys)
	if err := keyValueErrors.in(result, 4); err != nil {
		return 0, err
	}
	return int(result.u32(4)), nil
}

func (host) List(options contract.ListOptions) (contract.Entries, error) {
	hasStart, start := option(options.Start)
	hasStartAfter, startAfter := option(options.StartAfter)
	hasEnd, end_ := option(options.End)
	hasPrefix, prefix := option(options.Prefix)
	var hasLimit int32
	var limit uint32
	if options.Limit != nil {
		hasLimit, limit = 1, *options.Limit
	}
	result := begin()
	defer end()
	keyValueList(
		hasStart, start, hasStartAfter, startAfter, hasEnd, end_, hasPrefix, prefix,
		options.Reverse, hasLimit, limit, result.at,
	)
	if err := keyValueErrors.in(result, 4); err != nil {
		return nil, err
	}
	return entries(result.u32(4)), nil
}

// entry is the record of the interface key-value.
type entry struct{ key, value span }

// entries is an open listing.
type entries uint32

func (e entries) Next(max uint32) ([]contract.Entry, error) {
	result := begin()
	defer end()
	entriesNext(uint32(e), max, result.at)
	return result.entries()
}

func (e entries) Drop() { entriesDrop(uint32(e)) }

// entries are those in a result, or its refusal.
func (p place) entries() ([]contract.Entry, error) {
	if err := keyValueErrors.in(p, 4); err != nil {
		return nil, err
	}
	entries := make([]contract.Entry, 0, p.u32(8))
	p.list(4, unsafe.Sizeof(entry{}), func(element place) {
		entries = append(entries, contract.Entry{Key: element.text(0), Value: element.bytes(8)})
	})
	return entries, nil
}

func (host) OpenSavepoint() (contract.Savepoint, error) {
	result := begin()
	defer end()
	storageOpenSavepoint(result.at)
	if err := storageErrors.in(result, 4); err != nil {
		return nil, err
	}
	return savepoint(result.u32(4)), nil
}

type savepoint uint32

func (s savepoint) Keep() error {
	result := begin()
	defer end()
	savepointKeep(uint32(s), result.at)
	return storageErrors.in(result, 4)
}

func (s savepoint) Drop() { savepointDrop(uint32(s)) }

func (host) Size() (uint64, error) {
	result := begin()
	defer end()
	storageSize(result.at)
	if err := storageErrors.in(result, 8); err != nil {
		return 0, err
	}
	return result.u64(8), nil
}

func (host) DeleteAll() error {
	result := begin()
	defer end()
	storageDeleteAll(result.at)
	return storageErrors.in(result, 4)
}

func (host) Sync() error {
	result := begin()
	defer end()
	storageSync(result.at)
	return storageErrors.in(result, 4)
}
