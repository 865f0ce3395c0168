package packed

import (
	"bytes"
	"reflect"
	"testing"
)

// row is each type once, as the contract's table says.
const row = "\x00" +
	"\x01\xfe\xff\xff\xff\xff\xff\xff\xff" +
	"\x02\x00\x00\x00\x00\x00\x00\xf8\x3f" +
	"\x03\x03\x00\x00\x00a\xc3\xa4" +
	"\x04\x02\x00\x00\x00\x00\xff"

var values = []any{nil, int64(-2), 1.5, "aä", []byte{0, 0xff}}

func TestValuesAreReadAndWrittenAsTheContractHasThem(t *testing.T) {
	left := Values(row)
	for _, want := range values {
		if got := left.Next(); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if len(left) != 0 {
		t.Errorf("%d bytes are left", len(left))
	}
	if got := Append(nil, values...); string(got) != row {
		t.Errorf("%q", got)
	}
}

func TestNamesComeBeforeTheRows(t *testing.T) {
	result := []byte("\x02\x00\x00\x00\x03\x01\x00\x00\x00a\x03\x00\x00\x00\x00rest")
	columns, rows := Head(result)
	if !reflect.DeepEqual(columns, []string{"a", ""}) || string(rows) != "rest" {
		t.Errorf("%q, %q", columns, rows)
	}
	if !bytes.Equal(append(AppendHead(nil, columns), "rest"...), result) {
		t.Error("what is written is what is read")
	}
}
