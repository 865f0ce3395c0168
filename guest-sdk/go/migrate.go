package holdfast

import (
	"errors"
	"hash/fnv"
	"strings"
)

// Migrate runs those steps that this object has not run yet, in their order, all or none of them; meant for the function given to
// [Register]. A step is one or more SQL statements.
//
//	err := ctx.SQL.Migrate(
//		"CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT NOT NULL)",
//		"ALTER TABLE book ADD COLUMN price REAL", // came later, so it stands at the end
//	)
//
// A new step goes to the end. What was deployed stays as it is, its white space excepted: objects have run it, and a text that differs from
// what they ran is refused with the code "migration-changed"; a class that has fewer steps than they with "migration-missing". The
// object remembers its steps in the table holdfast_migration; with nothing to do, one row of it is read.
func (s *SQL) Migrate(steps ...string) error {
	known := fingerprints(steps)
	done, last, err := s.lastMigration()
	if err != nil {
		return err
	}
	switch {
	case done > len(steps):
		return Errorf("migration-missing",
			"this object has run %d migrations and the class has only %d: deploy a version with all of them", done, len(steps))
	case done > 0 && last != known[done-1]:
		return Errorf("migration-changed",
			"the first %d migrations are not those that this object has run: leave deployed migrations as they are and add new ones at the end",
			done)
	case done == len(steps):
		return nil
	}
	return s.storage.Transaction(func() error {
		const create = "CREATE TABLE IF NOT EXISTS holdfast_migration (version INTEGER PRIMARY KEY, fingerprint INTEGER)"
		if _, err := s.Exec(create); err != nil {
			return err
		}
		for i := done; i < len(steps); i++ {
			if _, err := s.Exec(steps[i]); err != nil {
				return Errorf("sql-error", "migration %d: %w", i+1, err)
			}
			const record = "INSERT INTO holdfast_migration (version, fingerprint) VALUES (?, ?)"
			if _, err := s.Exec(record, i+1, known[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// lastMigration is the number, from 1, and the fingerprint of the last step that the object has run; 0 if it has run none.
func (s *SQL) lastMigration() (version int, fingerprint int64, err error) {
	const last = "SELECT version, fingerprint FROM holdfast_migration ORDER BY version DESC LIMIT 1"
	err = s.QueryRow(last).Scan(&version, &fingerprint)
	var refusal *RefusedError
	// SQLITE_ERROR: there is no such table yet. Were it anything else, creating or filling the table fails, too.
	if errors.Is(err, ErrNoRows) || errors.As(err, &refusal) && refusal.SQLiteCode == 1 {
		return 0, 0, nil
	}
	return version, fingerprint, err
}

// fingerprints are what each step and all before it look like: FNV-1a over their words, so that their layout may change. Objects hold
// them permanently, and the SDKs of all languages have the same.
func fingerprints(steps []string) []int64 {
	hash := fnv.New64a()
	prints := make([]int64, len(steps))
	for i, step := range steps {
		for _, word := range strings.FieldsFunc(step, isASCIISpace) {
			hash.Write(append([]byte(word), ' '))
		}
		hash.Write([]byte{0}) // the end of the step
		prints[i] = int64(hash.Sum64())
	}
	return prints
}

func isASCIISpace(r rune) bool { return strings.ContainsRune(" \t\n\f\r", r) }
