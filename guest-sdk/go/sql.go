package holdfast

import (
	"errors"
	"fmt"
	"math"
	"reflect"

	"holdfast.dev/holdfast/internal/contract"
)

// SQL is the object's own SQLite database.
//
// The turn is the transaction: what it wrote stays if it succeeds and is gone if it fails. So there is no BEGIN and no COMMIT, and the
// host refuses them; [Storage.Transaction] undoes a part of a turn.
//
// Each method takes one or more statements separated by semicolons. All but the last run to their end and take no parameters; parameters
// and rows belong to the last.
//
// Parameters are nil, integers, floats, bools (0 or 1), strings, []byte, pointers to these (nil is NULL), and types made of them. A
// uint64 that SQLite's signed integers do not hold is an error.
type SQL struct {
	host    contract.Host
	storage *Storage
}

// Result is what statements did.
type Result struct {
	// Changes is how many rows they inserted, updated or deleted, without those of triggers.
	Changes int64
	// LastInsertID is the rowid of the object's last successful INSERT, 0 if there was none since its database was opened.
	LastInsertID int64
}

// ErrNoRows is what [Row.Scan] returns if there is no row.
var ErrNoRows = errors.New("the query returned no rows")

// Exec runs statements. Rows that they return are left unread.
func (s *SQL) Exec(text string, parameters ...any) (Result, error) {
	rows, err := s.Query(text, parameters...)
	if err != nil {
		return Result{}, err
	}
	rows.Close()
	return rows.Result(), nil
}

// Query runs statements and returns the rows of the last. They are read in batches: a long result is never in memory as a whole.
//
//	rows, err := ctx.SQL.Query("SELECT id, title FROM book WHERE price < ?", 10)
//	if err != nil {
//		return err
//	}
//	defer rows.Close()
//	for rows.Next() {
//		var id int64
//		var title string
//		if err := rows.Scan(&id, &title); err != nil {
//			return err
//		}
//	}
//	return rows.Err()
func (s *SQL) Query(text string, parameters ...any) (*Rows, error) {
	values := make([]any, len(parameters))
	for i, parameter := range parameters {
		value, err := toSQL(parameter)
		if err != nil {
			return nil, fmt.Errorf("parameter %d: %w", i+1, err)
		}
		values[i] = value
	}
	result, err := s.host.Exec(text, values)
	if err != nil {
		return nil, refused(err)
	}
	return newRows(result), nil
}

// QueryRow is for a query of which only the first row is wanted. Errors are those of [Row.Scan].
//
//	var books int64
//	err := ctx.SQL.QueryRow("SELECT count(*) FROM book").Scan(&books)
func (s *SQL) QueryRow(text string, parameters ...any) *Row {
	rows, err := s.Query(text, parameters...)
	return &Row{rows, err}
}

// Row is the first row of a result, if there is one.
type Row struct {
	rows *Rows
	err  error
}

// Scan copies the row as [Rows.Scan] does. [ErrNoRows] if there is none.
func (r *Row) Scan(destinations ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return ErrNoRows
	}
	return r.rows.Scan(destinations...)
}

// toSQL makes a parameter one of the types that the host takes: nil, int64, float64, string and []byte.
func toSQL(parameter any) (any, error) {
	switch parameter := parameter.(type) {
	case nil, int64, float64, string:
		return parameter, nil
	case int:
		return int64(parameter), nil
	case []byte:
		if parameter == nil {
			return nil, nil
		}
		return parameter, nil
	}
	value := reflect.ValueOf(parameter)
	switch value.Kind() {
	case reflect.Pointer:
		if value.IsNil() {
			return nil, nil
		}
		return toSQL(value.Elem().Interface())
	case reflect.Bool:
		if value.Bool() {
			return int64(1), nil
		}
		return int64(0), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return value.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if value.Uint() > math.MaxInt64 {
			return nil, fmt.Errorf("%d is more than SQLite's integers hold", value.Uint())
		}
		return int64(value.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return value.Float(), nil
	case reflect.String:
		return value.String(), nil
	case reflect.Slice:
		if value.Type().Elem().Kind() == reflect.Uint8 {
			return toSQL(value.Bytes())
		}
	}
	return nil, fmt.Errorf("a %T is no SQL value: use an integer, float, bool, string, []byte, or a pointer to one", parameter)
}
