//go:build wasip1

package canon

import (
	"fmt"
	"math"
	"runtime"

	"holdfast.dev/holdfast/internal/contract"
)

func (host) Exec(text string, parameters []any) (contract.ExecResult, error) {
	lowered := make([]value, len(parameters))
	for i, parameter := range parameters {
		lowered[i] = lower(parameter)
	}
	result := begin()
	defer end()
	packedSQLExec(text, first(lowered), uint32(len(lowered)), result.at)
	runtime.KeepAlive(parameters)
	if err := sqlErrors.in(result, 8); err != nil {
		return contract.ExecResult{}, err
	}
	executed := contract.ExecResult{Changes: result.u64(8), LastInsertRowID: int64(result.u64(16))}
	if result.bool(24) {
		executed.Packed = result.bytes(28)
	}
	if result.bool(36) {
		executed.More = cursor(result.u32(40))
	}
	return executed, nil
}

// value is a parameter: the variant `value` of the interface sql.
type value struct {
	kind    uint64
	payload uint64
}

func lower(parameter any) value {
	switch parameter := parameter.(type) {
	case nil:
		return value{0, 0}
	case int64:
		return value{1, uint64(parameter)}
	case float64:
		return value{2, math.Float64bits(parameter)}
	case string:
		return value{3, spanOf(parameter).word()}
	case []byte:
		return value{4, spanOf(shared(parameter)).word()}
	default:
		panic(fmt.Sprintf("holdfast: a parameter of type %T was not converted", parameter))
	}
}

// word is both numbers in the place of one.
func (s span) word() uint64 { return uint64(s.address) | uint64(s.length)<<32 }

type cursor uint32

func (c cursor) Next(max uint32) ([]byte, error) {
	result := begin()
	defer end()
	packedSQLNext(uint32(c), max, result.at)
	if err := sqlErrors.in(result, 4); err != nil {
		return nil, err
	}
	return result.bytes(4), nil
}

func (c cursor) Drop() { cursorDrop(uint32(c)) }
