/* The two functions of libc that the runtime uses, for compilers that come without a libc.
 * They go to the builtins, so that a copy of four bytes is one load. */
#ifndef INSITU_STRING_H
#define INSITU_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int value, size_t n);

#define memcpy(to, from, n) __builtin_memcpy((to), (from), (n))
#define memset(to, value, n) __builtin_memset((to), (value), (n))

#endif
