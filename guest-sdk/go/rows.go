package holdfast

import (
	"fmt"
	"math"
	"reflect"

	"holdfast.dev/holdfast/internal/contract"
	"holdfast.dev/holdfast/internal/packed"
	"holdfast.dev/holdfast/internal/turn"
)

// Rows are the rows of a result, to be read one after the other as those of database/sql. They are closed by reading to the end,
// by [Rows.Close], and when the turn ends.
type Rows struct {
	result  Result
	columns []string
	// left are the rows of this batch that were not read yet.
	left packed.Values
	// row are the values of the row in use, which [Rows.Next] overwrites.
	row  []any
	more contract.Cursor
	err  error
}

func newRows(result contract.ExecResult) *Rows {
	rows := &Rows{result: Result{int64(result.Changes), result.LastInsertRowID}, more: result.More}
	if result.Packed != nil {
		rows.columns, rows.left = packed.Head(result.Packed)
		rows.row = make([]any, len(rows.columns))
	}
	if rows.more != nil {
		turn.Opened(rows.more)
	}
	return rows
}

// Columns are the names of the columns; none for statements that return no rows.
func (r *Rows) Columns() []string { return r.columns }

// Result is what the statements did so far.
func (r *Rows) Result() Result { return r.result }

// Next moves to the next row. False is the end, or an error, which [Rows.Err] returns.
func (r *Rows) Next() bool {
	if len(r.left) == 0 && !r.fetch() {
		return false
	}
	for i := range r.row {
		r.row[i] = r.left.Next()
	}
	return true
}

func (r *Rows) fetch() bool {
	if r.more == nil {
		return false
	}
	rows, err := r.more.Next(batch)
	if err != nil {
		r.err = refused(err)
	}
	r.left = rows
	if len(rows) == 0 {
		r.Close()
		return false
	}
	return true
}

// Err is what ended the rows before their end, nil if nothing did.
func (r *Rows) Err() error { return r.err }

// Close ends the rows. Closing again does nothing.
func (r *Rows) Close() {
	if r.more != nil {
		turn.Drop(r.more)
	}
	r.more, r.left = nil, nil
}

// Values are the row as it is: nil, int64, float64, string or []byte for each column. They stay good.
func (r *Rows) Values() []any { return append([]any(nil), r.row...) }

// Scan copies the row to what the destinations point to, one for each column: integers, floats, bools, strings, []byte, any, and
// pointers, which are nil for NULL. A value that does not fit exactly is an error: no text becomes a number, and no number another one.
func (r *Rows) Scan(destinations ...any) error {
	if len(destinations) != len(r.row) {
		return fmt.Errorf("%d columns for %d destinations", len(r.row), len(destinations))
	}
	for i, destination := range destinations {
		if err := scan(r.row[i], destination); err != nil {
			return fmt.Errorf("column %q: %w", r.columns[i], err)
		}
	}
	return nil
}

func scan(value, destination any) error {
	switch destination := destination.(type) {
	case *any:
		*destination = value
		return nil
	case *int64:
		if value, ok := value.(int64); ok {
			*destination = value
			return nil
		}
	case *string:
		if value, ok := value.(string); ok {
			*destination = value
			return nil
		}
	}
	pointer := reflect.ValueOf(destination)
	if pointer.Kind() != reflect.Pointer || pointer.IsNil() {
		return fmt.Errorf("a %T cannot be scanned to: give a pointer", destination)
	}
	if !assign(value, pointer.Elem()) {
		return fmt.Errorf("%s does not fit in a %s", describe(value), pointer.Elem().Type())
	}
	return nil
}

// assign says whether the value fits.
func assign(value any, to reflect.Value) bool {
	if to.Kind() == reflect.Pointer {
		if value == nil {
			to.SetZero()
			return true
		}
		to.Set(reflect.New(to.Type().Elem()))
		return assign(value, to.Elem())
	}
	switch value := value.(type) {
	case int64:
		return assignInteger(value, to)
	case float64:
		if isFloat := to.CanFloat(); !isFloat || (to.OverflowFloat(value) && !math.IsInf(value, 0)) {
			return false
		}
		to.SetFloat(value)
	case string:
		if to.Kind() != reflect.String {
			return false
		}
		to.SetString(value)
	case []byte:
		if to.Kind() != reflect.Slice || to.Type().Elem().Kind() != reflect.Uint8 {
			return false
		}
		to.SetBytes(value)
	default: // NULL
		if to.Kind() != reflect.Slice && to.Kind() != reflect.Interface {
			return false
		}
		to.SetZero()
	}
	return true
}

func assignInteger(value int64, to reflect.Value) bool {
	switch {
	case to.CanInt() && !to.OverflowInt(value):
		to.SetInt(value)
	case to.CanUint() && value >= 0 && !to.OverflowUint(uint64(value)):
		to.SetUint(uint64(value))
	case to.CanFloat() && value >= -1<<53 && value <= 1<<53:
		to.SetFloat(float64(value))
	case to.Kind() == reflect.Bool && (value == 0 || value == 1):
		to.SetBool(value == 1)
	default:
		return false
	}
	return true
}

func describe(value any) string {
	switch value := value.(type) {
	case nil:
		return "NULL"
	case []byte:
		return fmt.Sprintf("a BLOB of %d bytes", len(value))
	case string:
		return fmt.Sprintf("the text %.40q", value)
	default:
		return fmt.Sprintf("the number %v", value)
	}
}
