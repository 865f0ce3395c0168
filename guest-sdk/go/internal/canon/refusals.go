//go:build wasip1

package canon

import "holdfast.dev/holdfast/internal/contract"

// in is the refusal in a result whose cases begin at this offset; nil if it is a success.
func (e *errors) in(result place, offset uintptr) error {
	if !result.bool(0) {
		return nil
	}
	variant := result.plus(offset)
	found, payload := e.cases[variant.u8(0)], variant.plus(e.payload)
	refusal := &contract.Refusal{Interface: e.of, Case: found.name}
	switch found.carries {
	case words:
		refusal.Text = payload.text(0)
	case number16:
		refusal.A = int64(uint16(payload.u32(0)))
	case number32:
		refusal.A = int64(payload.u32(0))
	case number64:
		refusal.A = int64(payload.u64(0))
	case pair32:
		refusal.A, refusal.B = int64(payload.u32(0)), int64(payload.u32(4))
	case pair64:
		refusal.A, refusal.B = int64(payload.u64(0)), int64(payload.u64(8))
	case sqlite:
		refusal.A, refusal.Text = int64(int32(payload.u32(0))), payload.text(4)
	}
	return refusal
}
