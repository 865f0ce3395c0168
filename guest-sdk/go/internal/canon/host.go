//go:build wasip1

package canon

import (
	"runtime"

	"holdfast.dev/holdfast/internal/contract"
)

func init() { contract.Current = host{} }

// host calls the host.
type host struct{}

func (host) ID() string {
	result := begin()
	defer end()
	identityID(result.at)
	return result.text(0)
}

func (host) Name() (string, bool) {
	result := begin()
	defer end()
	identityName(result.at)
	if !result.bool(0) {
		return "", false
	}
	return result.text(4), true
}

func (host) Class() string {
	result := begin()
	defer end()
	identityClass(result.at)
	return result.text(0)
}

func (host) Log(level contract.Level, message string, fields []contract.Field) {
	type field struct{ name, value span }
	lowered := make([]field, len(fields))
	for i := range fields {
		lowered[i] = field{spanOf(fields[i].Name), spanOf(fields[i].Value)}
	}
	loggingLog(uint32(level), message, first(lowered), uint32(len(lowered)))
	runtime.KeepAlive(fields)
}

func (host) Alarm() (millis uint64, ok bool, err error) {
	result := begin()
	defer end()
	alarmsGet(result.at)
	if err := alarmErrors.in(result, 8); err != nil {
		return 0, false, err
	}
	return result.u64(16), result.bool(8), nil
}

func (host) SetAlarm(millis uint64) error {
	result := begin()
	defer end()
	alarmsSet(millis, result.at)
	return alarmErrors.in(result, 4)
}

func (host) DeleteAlarm() error {
	result := begin()
	defer end()
	alarmsDelete(result.at)
	return alarmErrors.in(result, 4)
}
