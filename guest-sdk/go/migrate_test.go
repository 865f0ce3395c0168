package holdfast

import (
	"reflect"
	"testing"
)

const (
	table  = "CREATE TABLE t (x)"
	column = "ALTER TABLE t ADD y"
)

// Objects keep these permanently, and an object may have been written with another language's SDK.
func TestFingerprintsArePinned(t *testing.T) {
	if got := fingerprints([]string{table, column}); !reflect.DeepEqual(got, []int64{7_893_664_367_252_151_186, -3_826_583_018_014_006_330}) {
		t.Fatal(got)
	}
}

func TestAFingerprintCoversTheStepsBeforeAndNotTheirLayout(t *testing.T) {
	if fingerprints([]string{"\n  CREATE TABLE\r\n\tt (x)\n"})[0] != fingerprints([]string{table})[0] {
		t.Error("layout counts")
	}
	if fingerprints([]string{"a", column})[1] == fingerprints([]string{"b", column})[1] {
		t.Error("the step before does not count")
	}
	if fingerprints([]string{"a b"})[0] == fingerprints([]string{"a", "b"})[1] {
		t.Error("the end of a step does not count")
	}
}
