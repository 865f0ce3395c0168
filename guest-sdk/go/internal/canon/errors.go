package canon

import "holdfast.dev/holdfast/internal/contract"

// errors is an error variant of wit/: what its cases are called and what they carry.
type errors struct {
	of contract.Interface
	// payload is where it begins, from the start of the variant: the widest case decides.
	payload uintptr
	cases   []errorCase
}

type errorCase struct {
	name    string
	carries carries
}

type carries uint8

const (
	nothing carries = iota
	words
	number16
	number32
	number64
	pair32
	pair64
	sqlite // a code and words
)

var keyValueErrors = errors{contract.KeyValue, 4, []errorCase{
	{"key-size", number32}, {"value-size", number32}, {"too-many", number32}, {"bad-range", words},
	{"full", nothing}, {"closed", nothing}, {"other", words},
}}

var sqlErrors = errors{contract.SQL, 4, []errorCase{
	{"no-statement", nothing}, {"not-authorized", words}, {"parameter-count", pair32}, {"too-large", words},
	{"constraint", sqlite}, {"full", nothing}, {"closed", nothing}, {"sqlite", sqlite}, {"other", words},
}}

var storageErrors = errors{contract.Storage, 4, []errorCase{
	{"savepoint-open", nothing}, {"too-deep", number32}, {"closed", nothing}, {"full", nothing}, {"other", words},
}}

var alarmErrors = errors{contract.Alarms, 4, []errorCase{
	{"bad-time", nothing}, {"no-handler", nothing}, {"other", words},
}}

var webSocketErrors = errors{contract.WebSockets, 8, []errorCase{
	{"not-an-upgrade", nothing}, {"already-accepted", nothing}, {"too-many-sockets", number32}, {"bad-tag", words},
	{"unknown-socket", nothing}, {"closing", nothing}, {"too-large", pair64}, {"too-much", number64},
	{"bad-code", number16}, {"other", words},
}}

var laterErrors = errors{contract.Later, 4, []errorCase{
	{"too-many", number32}, {"not-deferrable", nothing}, {"gone", nothing}, {"wrong-kind", nothing}, {"other", words},
}}
