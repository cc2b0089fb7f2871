/* Painting the stack to learn how deep it went. */
#ifndef INSITU_STACK_H
#define INSITU_STACK_H

#include <stdint.h>

enum { STACK_PAINT = 0x5AC0FFEE, PAINT_GAP_WORDS = 16 };

extern uint32_t insitu_stack_limit[], insitu_stack_top[]; /* cortex_m.ld */

#endif
