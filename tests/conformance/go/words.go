package main

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"holdfast.dev/holdfast"
)

// encode is a word: all bytes but the unreserved ones are percent-encoded.
func encode[T string | []byte](word T) string {
	var encoded strings.Builder
	for _, b := range []byte(word) {
		switch {
		case 'A' <= b && b <= 'Z', 'a' <= b && b <= 'z', '0' <= b && b <= '9', strings.IndexByte("-._~", b) >= 0:
			encoded.WriteByte(b)
		default:
			fmt.Fprintf(&encoded, "%%%02X", b)
		}
	}
	return encoded.String()
}

func decode(word string) (string, error) {
	decoded, err := url.PathUnescape(word)
	if err != nil {
		return "", badScript("%v", err)
	}
	return decoded, nil
}

func encodeValue(value any) string {
	switch value := value.(type) {
	case nil:
		return "n"
	case int64:
		return "i:" + strconv.FormatInt(value, 10)
	case float64:
		return fmt.Sprintf("r:%016x", math.Float64bits(value))
	case string:
		return "t:" + encode(value)
	default:
		return "b:" + encode(value.([]byte))
	}
}

// decodeValue takes a word that is decoded already.
func decodeValue(word string) (any, error) {
	kind, rest, _ := strings.Cut(word, ":")
	switch kind {
	case "n":
		return nil, nil
	case "i":
		return strconv.ParseInt(rest, 10, 64)
	case "r":
		bits, err := strconv.ParseUint(rest, 16, 64)
		return math.Float64frombits(bits), err
	case "t":
		return rest, nil
	case "b":
		return []byte(rest), nil
	default:
		return nil, badScript("no value: %s", word)
	}
}

func decodeMessage(word string) (holdfast.Message, error) {
	kind, rest, _ := strings.Cut(word, ":")
	switch kind {
	case "t":
		return holdfast.Text(rest), nil
	case "b":
		return holdfast.Binary(rest), nil
	default:
		return nil, badScript("no message: %s", word)
	}
}

func badScript(format string, args ...any) error {
	return holdfast.Errorf("bad-script", format, args...)
}
