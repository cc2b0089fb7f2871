/* Nonzero channels gathered into a layer of four. See insitu_depthwise_compact.h. */
#include "insitu_depthwise_compact.h"

#include "insitu_error_words.h"
#include "insitu_depthwise.h"

insitu_nonzero_channels_t insitu_nonzero_channels(const insitu_conv_groups_params_t *p,
                                                  const int8_t *dy, void *scratch) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t channels = c->out_channels, positions = c->out_height * c->out_width;
  insitu_nonzero_channels_t compact = {0};
  if (p->compact_bytes == 0)
    return compact;
  compact.list = scratch;
  compact.dy = (int8_t *)(compact.list + round_up_even(channels));
  compact.map = compact.dy + INSITU_WORD * positions;
  compact.w = compact.map + INSITU_WORD * c->in_height * c->in_width;
  for (int32_t o = 0; o + INSITU_WORD <= channels; o += INSITU_WORD) {
    const uint32_t word = nonzero_word(positions, channels, dy + o);
    for (int32_t j = 0; j < INSITU_WORD && word != 0; j++) {
      if (word >> 8 * j & 0xFFu)
        compact.list[compact.count++] = (int16_t)(o + j);
    }
  }
  compact.few = 2 * compact.count <= channels;
  return compact;
}

insitu_conv_groups_params_t insitu_compact_shape(const insitu_conv_groups_params_t *p) {
  insitu_conv_groups_params_t four = *p;
  four.conv.in_channels = four.conv.out_channels = four.groups = INSITU_WORD;
  return four;
}

void insitu_gather_channels(int32_t positions, int32_t channels, const int16_t *list, int32_t count,
                            const int8_t *from, int8_t *to) {
  if (count < INSITU_WORD)
    memset(to, 0, (size_t)(positions * INSITU_WORD));
  for (int32_t j = 0; j < count; j++) {
    const int8_t *channel = from + list[j];
    int8_t *place = to + j;
    for (int32_t left = positions; left > 0; left--, channel += channels, place += INSITU_WORD)
      *place = *channel;
  }
}

void insitu_depthwise_grad_input_compact(const insitu_conv_groups_grad_input_params_t *g,
                                         insitu_nonzero_channels_t *compact, const int8_t *dy,
                                         const int8_t *w, const uint16_t *rel, void *planes,
                                         int8_t *dx) {
  const insitu_conv_params_t *c = &g->shape.conv;
  const int32_t row = c->kernel_height * c->kernel_width, channels = c->in_channels;
  const int32_t places = c->in_height * c->in_width;
  insitu_conv_groups_grad_input_params_t four = *g;
  four.shape = insitu_compact_shape(&g->shape);
  memset(dx, 0, (size_t)(places * channels));
  for (int32_t r = 0; r < compact->count; r += INSITU_WORD) {
    const int16_t *const list = compact->list + r;
    const int32_t count = insitu_min(compact->count - r, INSITU_WORD);
    insitu_gather_channels(c->out_height * c->out_width, channels, list, count, dy, compact->dy);
    for (int32_t j = 0; j < INSITU_WORD; j++) {
      const int32_t i = list[insitu_min(j, count - 1)];
      memcpy(compact->w + j * row, w + i * row, (size_t)row);
      compact->rel[j] = rel[i];
    }
    insitu_depthwise_grad_input(&four, compact->dy, compact->w, compact->rel, planes, compact->map);
    for (int32_t j = 0; j < count; j++) {
      int8_t *to = dx + list[j];
      for (int32_t n = 0; n < places; n++, to += channels)
        *to = compact->map[n * INSITU_WORD + j];
    }
  }
}
