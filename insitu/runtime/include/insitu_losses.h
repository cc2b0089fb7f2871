/* Losses: scores and what they should have been -> error, loss. Defined in loss.c.
 *
 * Scores are float, errors int8 or float, maps as vectors in memory order. Sums run in that order.
 * Twin: insitu/ops/losses/cross_entropy.py, insitu/ops/losses/targets.py.
 */
#ifndef INSITU_LOSSES_H
#define INSITU_LOSSES_H

#include "insitu.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  int32_t size;
  int32_t least; /* an error that nowhere reaches this, in [0, 127], becomes 0 everywhere */
} insitu_loss_params_t;

/* dy = round(127 (softmax(scores) - onehot(label))), loss = -log softmax(scores)[label].
 * Returns the number of errors that are not zero. scratch: 4 bytes a class. */
int32_t insitu_softmax_cross_entropy_s8(const insitu_loss_params_t *p, const float *scores,
                                        const int32_t *label, void *scratch, int8_t *dy,
                                        float *loss);

typedef struct {
  int32_t size;
  float least; /* an error that nowhere reaches this becomes 0 everywhere */
} insitu_loss_f32_params_t;

/* The same with dy = softmax(scores) - onehot(label), of scores below INSITU_DIVERGED. */
int32_t insitu_softmax_cross_entropy_f32(const insitu_loss_f32_params_t *p, const float *scores,
                                         const int32_t *label, float *dy, float *loss);

typedef struct {
  int32_t size;
  float factor;  /* 127 / error unit */
  int32_t least; /* as in insitu_loss_params_t */
} insitu_mean_squared_error_params_t;

/* dy = round(factor (scores - target)) clamped to [-127, 127], loss = mean of (scores - target)^2,
 * INSITU_NO_BOUND where that is not finite. Returns the number of errors that are not zero. */
int32_t insitu_mean_squared_error_s8(const insitu_mean_squared_error_params_t *p,
                                     const float *scores, const float *target, int8_t *dy,
                                     float *loss);

/* dy = round(127 (sigmoid(scores) - target)), target in [0, 1]; loss = mean of the binary
 * cross-entropies of sigmoid(scores). Returns the number of errors that are not zero. */
int32_t insitu_binary_cross_entropy_s8(const insitu_loss_params_t *p, const float *scores,
                                       const float *target, int8_t *dy, float *loss);

typedef struct {
  int32_t size;
  float factor; /* of the error: 2 / size, or 1 / size */
  float least;  /* an error that nowhere reaches this, before the factor, becomes 0 everywhere */
} insitu_mean_loss_f32_params_t;

/* The same with dy = factor (scores - target). Scores that are no longer finite teach nothing:
 * errors 0, loss INSITU_NO_BOUND. */
int32_t insitu_mean_squared_error_f32(const insitu_mean_loss_f32_params_t *p, const float *scores,
                                      const float *target, float *dy, float *loss);

/* The same with dy = factor (sigmoid(scores) - target). */
int32_t insitu_binary_cross_entropy_f32(const insitu_mean_loss_f32_params_t *p, const float *scores,
                                        const float *target, float *dy, float *loss);

/* Whether every x is a number in [min, max]. */
int32_t insitu_within_f32(int32_t size, const float *x, float min, float max);

/* Whether every x is a number, and smaller than INSITU_DIVERGED. */
int32_t insitu_are_finite_f32(int32_t size, const float *x);

/* The first of the largest scores. */
int32_t insitu_argmax_f32(int32_t size, const float *scores);

#ifdef __cplusplus
}
#endif

#endif
