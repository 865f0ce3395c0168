// Package packed reads results in the encoding of wit/packed-sql.wit. The bytes are the host's, so what does not fit the encoding is a
// panic: of a slice's bounds, or in so many words.
package packed

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Values are encoded values, one after the other. Reading takes them off.
type Values []byte

// Head reads what a result begins with: the names of the columns. The rows follow.
func Head(result []byte) (columns []string, rows Values) {
	rows = result
	columns = make([]string, rows.length())
	for i := range columns {
		columns[i] = rows.Next().(string)
	}
	return columns, rows
}

// Next takes off a value: nil, int64, float64, string or []byte.
func (v *Values) Next() any {
	switch kind := v.take(1)[0]; kind {
	case 0:
		return nil
	case 1:
		return int64(binary.LittleEndian.Uint64(v.take(8)))
	case 2:
		return math.Float64frombits(binary.LittleEndian.Uint64(v.take(8)))
	case 3:
		return string(v.take(v.length()))
	case 4:
		return append([]byte{}, v.take(v.length())...)
	default:
		panic(fmt.Sprintf("the host gives a value of type %d, which the contract does not have", kind))
	}
}

func (v *Values) length() int { return int(binary.LittleEndian.Uint32(v.take(4))) }

func (v *Values) take(n int) []byte {
	taken := (*v)[:n:n]
	*v = (*v)[n:]
	return taken
}
