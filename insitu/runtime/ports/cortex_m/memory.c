/* memcpy and memset for firmware without a libc: words where both sides are aligned.
 * Compile with -fno-builtin, or the loops become calls of themselves. */
#include <stddef.h>
#include <stdint.h>

typedef uint32_t __attribute__((may_alias)) word_t;

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int value, size_t n);

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
  uint8_t *d = to;
  const uint8_t *s = from;
  if ((((uintptr_t)d | (uintptr_t)s) & 3U) == 0U) {
    word_t *dw = (word_t *)(void *)d;
    const word_t *sw = (const word_t *)(const void *)s;
    for (; n >= 16U; n -= 16U, dw += 4, sw += 4) {
      const uint32_t a = sw[0], b = sw[1], c = sw[2], e = sw[3];
      dw[0] = a;
      dw[1] = b;
      dw[2] = c;
      dw[3] = e;
    }
    for (; n >= 4U; n -= 4U) {
      *dw++ = *sw++;
    }
    d = (uint8_t *)dw;
    s = (const uint8_t *)sw;
  }
  for (; n > 0U; --n) {
    *d++ = *s++;
  }
  return to;
}

void *memset(void *to, int value, size_t n) {
  uint8_t *d = to;
  const uint32_t byte = (uint8_t)value;
  for (; n > 0U && ((uintptr_t)d & 3U) != 0U; --n) {
    *d++ = (uint8_t)byte;
  }
  word_t *dw = (word_t *)(void *)d;
  for (; n >= 4U; n -= 4U) {
    *dw++ = byte * 0x01010101U;
  }
  for (d = (uint8_t *)dw; n > 0U; --n) {
    *d++ = (uint8_t)byte;
  }
  return to;
}
