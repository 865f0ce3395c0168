package holdfast_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/holdfasttest"
)

// answering is a database that always answers the same.
func answering(columns []string, rows ...[]any) *holdfast.SQL {
	host := holdfasttest.NewHost("a")
	host.SQL = func(string, []any) ([]string, [][]any, error) { return columns, rows, nil }
	return host.Context().SQL
}

func TestParametersBecomeTheTypesOfSQLite(t *testing.T) {
	type name string
	type blob []byte
	host := holdfasttest.NewHost("a")
	var given []any
	host.SQL = func(_ string, parameters []any) ([]string, [][]any, error) {
		given = parameters
		return nil, nil, nil
	}
	text, missing := "x", (*string)(nil)
	_, err := host.Context().SQL.Exec("…", nil, 1, int8(-2), uint32(3), int64(math.MinInt64), true, false, 1.5, float32(0.5), "t", name("n"),
		[]byte{0}, blob{1}, []byte(nil), []byte{}, &text, missing)
	want := []any{nil, int64(1), int64(-2), int64(3), int64(math.MinInt64), int64(1), int64(0), 1.5, 0.5, "t", "n",
		[]byte{0}, []byte{1}, nil, []byte{}, "x", nil}
	if err != nil || !reflect.DeepEqual(given, want) {
		t.Fatalf("%#v, %v", given, err)
	}
	for _, bad := range []any{uint64(math.MaxUint64), struct{}{}, []int{1}, map[string]int{}} {
		if _, err := host.Context().SQL.Exec("…", 1, bad); err == nil || !strings.HasPrefix(err.Error(), "parameter 2: ") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestRowsAreScannedExactly(t *testing.T) {
	values := []any{int64(math.MaxInt64), "ä\x00", []byte{0, 255}, nil, int64(1), int64(7), 1.5, nil, "raw"}
	rows, err := answering(make([]string, len(values)), values).Query("…")
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	var (
		number  int64
		text    string
		bytes   []byte
		missing *string
		yes     bool
		small   *uint8
		float   float64
		null    []byte
		raw     any
	)
	if err := rows.Scan(&number, &text, &bytes, &missing, &yes, &small, &float, &null, &raw); err != nil {
		t.Fatal(err)
	}
	got := []any{number, text, bytes, missing, yes, *small, float, null, raw}
	want := []any{int64(math.MaxInt64), "ä\x00", []byte{0, 255}, (*string)(nil), true, uint8(7), 1.5, []byte(nil), "raw"}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%#v", got)
	}
	if rows.Next() || rows.Err() != nil {
		t.Fatal("one row", rows.Err())
	}
}

func TestWhatDoesNotFitIsAnErrorThatNamesTheColumn(t *testing.T) {
	for value, destination := range map[any]any{
		int64(256): new(uint8), int64(-1): new(uint), int64(2): new(bool), int64(1<<53 + 1): new(float64), int64(1): new(string),
		"1": new(int64), 1.5: new(int64), 1e300: new(float32), nil: new(int64), "": new([]byte),
	} {
		err := answering([]string{"c"}, []any{value}).QueryRow("…").Scan(destination)
		if err == nil || !strings.HasPrefix(err.Error(), `column "c": `) {
			t.Errorf("%v to %T: %v", value, destination, err)
		}
	}
	if err := answering([]string{"c"}, []any{"x"}).QueryRow("…").Scan(); err == nil {
		t.Error("a column without a destination")
	}
	var no int64
	if err := answering([]string{"c"}).QueryRow("…").Scan(&no); err != holdfast.ErrNoRows {
		t.Error(err)
	}
}

func TestRowsComeInBatches(t *testing.T) {
	var given [][]any
	for i := range int64(1000) {
		given = append(given, []any{i, fmt.Sprint("row ", i)})
	}
	rows, err := answering([]string{"i", "text"}, given...).Query("…")
	if err != nil || !reflect.DeepEqual(rows.Columns(), []string{"i", "text"}) {
		t.Fatal(rows.Columns(), err)
	}
	var kept [][]any
	for rows.Next() {
		kept = append(kept, rows.Values())
	}
	if rows.Err() != nil || !reflect.DeepEqual(kept, given) {
		t.Fatal(len(kept), rows.Err())
	}
	rows.Close()
	if rows.Next() {
		t.Fatal("closed")
	}
}

func TestSQLiteSaysWhatIsWrong(t *testing.T) {
	host := holdfasttest.NewHost("a")
	host.SQL = func(string, []any) ([]string, [][]any, error) {
		return nil, nil, &holdfast.RefusedError{Case: holdfast.ErrConstraint, Message: "UNIQUE constraint failed: t.a", SQLiteCode: 2067}
	}
	_, err := host.Context().SQL.Exec("…")
	var refusal *holdfast.RefusedError
	if !errors.Is(err, holdfast.ErrConstraint) || !errors.As(err, &refusal) || refusal.SQLiteCode != 2067 {
		t.Fatalf("%#v", err)
	}
}
