// Package packed is the encoding of results in wit/packed-sql.wit. What is read comes from the host, so what does not fit the encoding is a
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

// AppendHead is the names of columns as results have them.
func AppendHead(to []byte, columns []string) []byte {
	to = binary.LittleEndian.AppendUint32(to, uint32(len(columns)))
	for _, column := range columns {
		to = Append(to, column)
	}
	return to
}

// Append adds encoded values.
func Append(to []byte, values ...any) []byte {
	for _, value := range values {
		switch value := value.(type) {
		case nil:
			to = append(to, 0)
		case int64:
			to = binary.LittleEndian.AppendUint64(append(to, 1), uint64(value))
		case float64:
			to = binary.LittleEndian.AppendUint64(append(to, 2), math.Float64bits(value))
		case string:
			to = append(binary.LittleEndian.AppendUint32(append(to, 3), uint32(len(value))), value...)
		case []byte:
			to = append(binary.LittleEndian.AppendUint32(append(to, 4), uint32(len(value))), value...)
		default:
			panic(fmt.Sprintf("a %T is no value of SQL", value))
		}
	}
	return to
}
