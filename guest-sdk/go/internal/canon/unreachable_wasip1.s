#include "textflag.h"

// func unreachable()
//
// The instruction of this name: a trap.
TEXT ·unreachable(SB), NOSPLIT, $0
	UNDEF
	RET
