/* insitu: in-place quantized training on microcontrollers. What every model and kernel shares.
 *
 * value = scale * (q - zero_point). Integers are exact; floats are IEEE single, one rounding an
 * operation in the order written (compile with -ffp-contract=off). Twin: insitu/fixed_point.py;
 * the text of both is docs/arithmetic.md. Nothing here allocates, recurses or keeps state.
 */
#ifndef INSITU_H
#define INSITU_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  INSITU_OK = 0,
  INSITU_ERROR_LABEL = 1,    /* the label is not in [0, classes), or a target is none; nothing
                                was changed */
  INSITU_ERROR_RATE = 2,     /* the learning rate is not in (0, 1]; nothing was changed */
  INSITU_ERROR_ARENA = 3,    /* the arena is 0 or not aligned to 8: there is no model yet */
  INSITU_ERROR_INIT = 4,     /* init was not called or failed; nothing was changed */
  INSITU_ERROR_FLOATS = 5,   /* the FPU takes subnormal numbers for 0, or does not round to nearest:
                                there is no model yet; see the FZ bit of FPSCR */
  INSITU_ERROR_DIVERGED = 10 /* the scores are no numbers, or of 2^126 and more: training has
                                diverged; nothing was changed */
} insitu_status_t;

/* What a training step did. */
typedef struct {
  float loss; /* before the update, natural logarithm; the mean over the outputs of targets */
  int32_t predicted; /* class before the update, -1 where labels are targets */
  int32_t skipped;   /* 1: the error was zero everywhere, or skipped: no weight changed;
                        2: left out by a sampled update: the last layer alone learnt;
                        3: diverged, see INSITU_ERROR_DIVERGED */
  int32_t saturated; /* rows whose step was too large: in integers it was clamped, in floats
                        (INSITU_STEP_LIMIT) left out */
} insitu_info_t;

/* Quantization of a tensor, fixed or in force during one step. */
typedef struct {
  float scale;
  int32_t zero_point;
  int32_t clamp_min, clamp_max; /* every stored q lies within */
  int32_t pass_min, pass_max;   /* the error passes where pass_min <= q <= pass_max */
} insitu_qparams_t;

/* Floats that are as large or larger have diverged: their differences might not be finite. */
#define INSITU_DIVERGED 8.507059173023462e+37f /* 2^126 */

/* Stands for infinity: the bound of an activation function that has none. */
#define INSITU_NO_BOUND 3.402823466e+38f

#ifdef INSITU_PROFILE_HOOK
void insitu_profile(int32_t node);
#define INSITU_PROFILE(node) insitu_profile(node)
#else
#define INSITU_PROFILE(node) ((void)0)
#endif

/* The learning rate of a step: from `rate` at step 0 down to 2 % of it along half a cosine. */
float insitu_cosine_rate(float rate, uint32_t step, uint32_t steps);

#ifdef __cplusplus
}
#endif

#endif
