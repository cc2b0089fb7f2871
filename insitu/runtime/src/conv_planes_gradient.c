/* Weight gradient of depthwise convolution by planes. See insitu_planes.h.
 * Bit for bit what src/conv_groups_gradient.c computes, which is the definition. */
#include "insitu_planes.h"
#include "insitu_taps.h"

/* Lines of errors, and of the map beside them; pairs of positions in a line, halfwords from a line
 * to the next. */
typedef struct {
  int32_t lines, pairs;
  int32_t e_line, x_line;
} insitu_beside_t;

/* The sums of one pair of errors d with x[k], x[k + 1] for every tap k. */
static inline void insitu_add_pair(int32_t taps, uint32_t d, const int16_t *x, int32_t *s) {
  s[0] = insitu_pair_dot(d, insitu_load_pair(x), s[0]);
  if (taps > 1)
    s[1] = insitu_pair_dot(d, insitu_load_pair(x + 1), s[1]);
  if (taps > 2)
    s[2] = insitu_pair_dot(d, insitu_load_pair(x + 2), s[2]);
  if (taps > 3)
    s[3] = insitu_pair_dot(d, insitu_load_pair(x + 3), s[3]);
  if (taps > 4)
    s[4] = insitu_pair_dot(d, insitu_load_pair(x + 4), s[4]);
  if (taps > 5)
    s[5] = insitu_pair_dot(d, insitu_load_pair(x + 5), s[5]);
  if (taps > 6)
    s[6] = insitu_pair_dot(d, insitu_load_pair(x + 6), s[6]);
}

/* gradient[k apart] += sum over lines and positions of e[position] x[position + k], k < taps. */
static inline void insitu_correlate(const insitu_beside_t *b, int32_t taps, const int16_t *e,
                                    const int16_t *x, int32_t apart, int32_t *gradient) {
  const int32_t pairs = b->pairs, e_line = b->e_line, x_line = b->x_line;
  int32_t s[INSITU_PLANES_KERNEL] = {0};
  for (int32_t line = b->lines; line > 0; line--, e += e_line, x += x_line) {
    const int16_t *errors = e, *from = x, *end = e + 2 * (pairs & ~1);
    while (errors != end) {
      insitu_add_pair(taps, insitu_load_pair(errors), from, s);
      insitu_add_pair(taps, insitu_load_pair(errors + 2), from + 2, s);
      errors += 4, from += 4;
    }
    if (pairs & 1)
      insitu_add_pair(taps, insitu_load_pair(errors), from, s);
  }
  for (int32_t k = 0; k < taps; k++)
    gradient[k * apart] += s[k];
}

static void insitu_correlate_taps(const insitu_beside_t *b, int32_t taps, const int16_t *e,
                                  const int16_t *x, int32_t apart, int32_t *gradient) {
  switch (taps) {
  case 1:
    insitu_correlate(b, 1, e, x, apart, gradient);
    break;
  case 2:
    insitu_correlate(b, 2, e, x, apart, gradient);
    break;
  case 3:
    insitu_correlate(b, 3, e, x, apart, gradient);
    break;
  case 4:
    insitu_correlate(b, 4, e, x, apart, gradient);
    break;
  case 5:
    insitu_correlate(b, 5, e, x, apart, gradient);
    break;
  case 6:
    insitu_correlate(b, 6, e, x, apart, gradient);
    break;
  default:
    insitu_correlate(b, 7, e, x, apart, gradient);
    break;
  }
}

/* Of one channel in a band. */
static void insitu_gradient_lane(const insitu_conv_params_t *c, const insitu_beside_t *b,
                                 int32_t columns, int32_t line, const int16_t *e, const int16_t *x,
                                 int32_t *gradient) {
  const int32_t right = c->stride_width;
  for (int32_t ky = 0; ky < c->kernel_height; ky++, gradient += c->kernel_width * INSITU_LANES)
    for (int32_t phase = 0; phase < insitu_min(right, c->kernel_width); phase++)
      insitu_correlate_taps(b, insitu_div_up(c->kernel_width - phase, right), e,
                            x + ky * line + phase * columns, right * INSITU_LANES,
                            gradient + phase * INSITU_LANES);
}

uint32_t insitu_gradient_planes(const insitu_conv_groups_params_t *p, int32_t zero,
                                const int8_t *dy, const int8_t *x, int32_t o, int16_t *planes,
                                int32_t *gradient, int32_t *errors) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t lanes = insitu_min(c->in_channels - o, INSITU_LANES), down = c->stride_height;
  const insitu_source_t maps = {x + o,          c->in_height, c->in_width, c->in_channels,
                                lanes,          zero,         c->pad_left, insitu_phase_columns(c),
                                c->stride_width};
  const insitu_source_t beside = {
      dy + o, c->out_height, c->out_width, c->out_channels, lanes, 0, 0, insitu_even(c->out_width),
      1};
  const int32_t line = insitu_plane_line(&maps), e_line = insitu_plane_line(&beside);
  int16_t *const e = planes + ((p->band - 1) * down + c->kernel_height) * line;
  insitu_error_sums_t sums = {0};
  uint32_t alive = 0;
  if (o == 0)
    memset(planes, 0, (size_t)(e - planes + p->band * e_line) * sizeof *planes);
  memset(gradient, 0, (size_t)(insitu_group_row(p) * INSITU_LANES) * sizeof *gradient);
  for (int32_t first = 0; first < c->out_height; first += p->band) {
    const int32_t lines = insitu_min(p->band, c->out_height - first);
    const insitu_beside_t b = {lines, beside.columns / 2, e_line, down * line};
    sums.bits = 0;
    insitu_fill_errors(&beside, first, lines, e, &sums);
    if (sums.bits == 0)
      continue;
    insitu_fill_planes(&maps, first * down - c->pad_top, (lines - 1) * down + c->kernel_height,
                       planes);
    for (int32_t lane = 0; lane < lanes; lane++) {
      if ((sums.bits >> (8 * lane) & 0xFFu) == 0)
        continue;
      alive |= 1u << lane;
      insitu_gradient_lane(c, &b, maps.columns, line, e + lane * beside.columns,
                           planes + lane * maps.columns * maps.phases, gradient + lane);
    }
  }
  memcpy(errors, sums.sum, (size_t)lanes * sizeof *errors);
  return alive;
}
