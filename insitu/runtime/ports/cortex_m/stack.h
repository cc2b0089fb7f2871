/* Painting the stack to learn how deep it went. It grows down from insitu_stack_top; below
 * insitu_stack_limit lie 8 bytes of guard, painted too: where they changed, it went too deep. */
#ifndef INSITU_STACK_H
#define INSITU_STACK_H

#include <stdint.h>

enum { STACK_PAINT = 0x5AC0FFEE, PAINT_GAP_WORDS = 16 };

extern uint32_t insitu_stack_guard[], insitu_stack_top[]; /* cortex_m.ld */

#endif
