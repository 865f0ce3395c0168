package canon

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Cases are numbers on the way here, so their order is the contract's or they are others.
func TestErrorsAreThoseOfTheContract(t *testing.T) {
	const contract = "../../../../wit/"
	if _, err := os.Stat(contract); err != nil {
		t.Skip("a copy of the SDK has no contract beside it")
	}
	for _, errors := range []errors{keyValueErrors, sqlErrors, storageErrors, alarmErrors, webSocketErrors} {
		text, err := os.ReadFile(contract + string(errors.of) + ".wit")
		if err != nil {
			t.Fatal(err)
		}
		_, variant, _ := strings.Cut(string(text), "variant error {")
		variant, _, found := strings.Cut(variant, "\n    }")
		if !found {
			t.Fatalf("%s has no errors", errors.of)
		}
		cases := regexp.MustCompile(`(?m)^        ([a-z-]+)(?:\((.*)\))?,$`).FindAllStringSubmatch(variant, -1)
		if len(cases) != len(errors.cases) {
			t.Fatalf("%s has %d cases, not %d", errors.of, len(cases), len(errors.cases))
		}
		for i, known := range errors.cases {
			if name, carries := cases[i][1], wit[known.carries]; name != known.name || cases[i][2] != carries {
				t.Errorf("%s: case %d is %s(%s), not %s(%s)", errors.of, i, name, cases[i][2], known.name, carries)
			}
		}
	}
}

// wit is how the contract writes what a case carries.
var wit = map[carries]string{
	nothing: "", words: "string", number16: "u16", number32: "u32", number64: "u64",
	pair32: "parameter-counts", pair64: "over-limit", sqlite: "sqlite-error",
}
