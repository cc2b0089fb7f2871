/* The epilogue in C, which is the definition. See insitu_depthwise_epilogue.h. */
#include "insitu_depthwise_epilogue.h"

/* `width` places, one after the other, of any number of lanes. */
static inline void epilogue_places(insitu_depthwise_clamp_t clamp,
                                   insitu_depthwise_epilogue_t *finish, int32_t lanes,
                                   const int16_t *values, int32_t width, int8_t *y, int32_t apart) {
  insitu_depthwise_epilogue_t f = *finish; /* local: y could be any of what lies in memory */
  for (int32_t k = 0; k < width; k++, y += apart) {
    const int16_t *from = values + k / 2 * INSITU_PAIR_STEP + k % 2;
    for (int32_t lane = 0; lane < lanes; lane++) {
      const int32_t v = from[2 * lane];
      if (clamp == INSITU_CLAMP_ERRORS) {
        y[lane] = (int8_t)insitu_clamp(v, -127, 127);
        continue;
      }
      if (v < f.lowest)
        f.lowest = v;
      if (v > f.highest)
        f.highest = v;
      const int32_t least = clamp == INSITU_CLAMP_INT8 ? INT8_MIN : f.least;
      y[lane] =
          (int8_t)insitu_clamp(v + f.zero, least, clamp == INSITU_CLAMP_INT8 ? INT8_MAX : f.most);
    }
  }
  *finish = f;
}

void insitu_depthwise_epilogue(insitu_depthwise_clamp_t clamp, const insitu_depthwise_outputs_t *o,
                               const int16_t *values, insitu_depthwise_epilogue_t *f, int8_t *y) {
  const int32_t pairs = o->lanes < INSITU_LANES || clamp == INSITU_CLAMP_BOUNDS ? 0 : o->width / 2;
  const int32_t left = o->width - 2 * pairs, apart = o->apart;
  const int16_t *from = values;
  int8_t *to = y;
  for (int32_t line = pairs > 0 ? o->height : 0; line > 0; line--, from += o->line, to += o->y_line)
    if (clamp == INSITU_CLAMP_ERRORS)
      insitu_depthwise_epilogue_errors(from, pairs, to, apart);
    else
      insitu_depthwise_epilogue_int8(f, from, pairs, to, apart);
  from = values + pairs * INSITU_PAIR_STEP, to = y + 2 * pairs * apart;
  for (int32_t line = left > 0 ? o->height : 0; line > 0; line--, from += o->line, to += o->y_line)
    if (clamp == INSITU_CLAMP_ERRORS)
      epilogue_places(INSITU_CLAMP_ERRORS, f, o->lanes, from, left, to, apart);
    else
      epilogue_places(INSITU_CLAMP_BOUNDS, f, o->lanes, from, left, to, apart);
}

#if !defined(__ARM_FEATURE_DSP)

/* v + add, clamped to [0, most]. */
static inline uint32_t clamp_unsigned(int32_t v, int32_t add, uint32_t most) {
  const uint32_t u = (uint32_t)(v + add);
  if (u <= most)
    return u;
  return u >> 31 ? 0 : most;
}

#if !defined(__ARM_ARCH_6M__)
void insitu_depthwise_epilogue_int8(insitu_depthwise_epilogue_t *f, const int16_t *values,
                                    int32_t pairs, int8_t *y, int32_t apart) {
  epilogue_places(INSITU_CLAMP_INT8, f, 4, values, 2 * pairs, y, apart);
}
#endif

void insitu_depthwise_epilogue_errors(const int16_t *values, int32_t pairs, int8_t *y,
                                      int32_t apart) {
  for (; pairs > 0; pairs--, values += INSITU_PAIR_STEP, y += 2 * apart) {
    int8_t *const next = y + apart;
    for (int32_t lane = 0; lane < 4; lane++) {
      const uint32_t pair = load_word_aligned(values + 2 * lane);
      y[lane] = (int8_t)((int32_t)clamp_unsigned(low_half(pair), 127, 254) - 127);
      next[lane] = (int8_t)((int32_t)clamp_unsigned(high_half(pair), 127, 254) - 127);
    }
  }
}

#endif
