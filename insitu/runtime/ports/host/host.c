/* A model as a shared library: whole streams in one call, the memory is the caller's.
 * Python side: insitu/run/twin_library.py. */
#include <string.h>

#include "harness.h"

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

typedef struct {
  int32_t model_bytes, state_bytes, arena_bytes, input_size, outputs, nodes, element_bytes;
  int32_t label_size, float_labels;
} insitu_host_sizes_t;

/* What happened to each record; every pointer has one element a record. */
typedef struct {
  int32_t *predicted;
  float *loss;
  int32_t *skipped;
  int32_t *saturated;
} insitu_host_results_t;

EXPORT void insitu_host_sizes(insitu_host_sizes_t *sizes);
EXPORT int32_t insitu_host_init(MODEL(t) * model, void *arena);
EXPORT void insitu_host_set_seed(MODEL(t) * model, uint32_t seed);
EXPORT void insitu_host_get_state(const MODEL(t) * model, uint8_t *state);
EXPORT void insitu_host_set_state(MODEL(t) * model, const uint8_t *state);
EXPORT void insitu_host_quantize_input(const float *x, int32_t n, MODEL(input_t) * q,
                                       int32_t *beyond);
EXPORT void insitu_host_predict(MODEL(t) * model, const MODEL(input_t) * x, int32_t n,
                                float *scores, int32_t *predicted);
EXPORT int32_t insitu_host_run(MODEL(t) * model, const MODEL(input_t) * x,
                               const MODEL(label_t) * labels, const int32_t *order,
                               const float *rates, int32_t n, const insitu_host_results_t *results,
                               int32_t *failed);

/* How this thread computes floats, set as the model needs it: another library of the process may
 * have had subnormal numbers flushed. Returns what it was. Sources: Intel SDM 1, 10.2.3 (MXCSR: FTZ
 * 15, RC 13, DAZ 6); Arm ARM, FPCR (FZ 24, RMode 22). */
static uint64_t begin_ieee(void) {
#if defined(__SSE__)
  const uint32_t before = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before & ~0xE040U);
  return before;
#elif defined(__aarch64__)
  uint64_t before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  __asm__ volatile("msr fpcr, %0" : : "r"(before & ~0x1C00000ULL) : "memory");
  return before;
#else
  return 0;
#endif
}

static void end_ieee(uint64_t before) {
#if defined(__SSE__)
  __builtin_ia32_ldmxcsr((uint32_t)before);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(before) : "memory");
#else
  (void)before;
#endif
}

void insitu_host_sizes(insitu_host_sizes_t *sizes) {
  sizes->model_bytes = (int32_t)sizeof(MODEL(t));
  sizes->state_bytes = (int32_t)sizeof(MODEL(state_t));
  sizes->arena_bytes = MODEL(arena_bytes);
  sizes->input_size = MODEL(input_size);
  sizes->outputs = MODEL(outputs);
  sizes->nodes = MODEL(nodes);
  sizes->element_bytes = (int32_t)sizeof(MODEL(input_t));
  sizes->label_size = MODEL(label_size);
  sizes->float_labels = MODEL(float_labels);
}

/* Returns a status. */
int32_t insitu_host_init(MODEL(t) * model, void *arena) {
  const uint64_t mode = begin_ieee();
  memset(arena, ARENA_POISON, MODEL(arena_bytes));
  const insitu_status_t status = MODEL(init)(model, arena);
  end_ieee(mode);
  return (int32_t)status;
}

void insitu_host_set_seed(MODEL(t) * model, uint32_t seed) { MODEL(set_seed)(model, seed); }

void insitu_host_get_state(const MODEL(t) * model, uint8_t *state) {
  memcpy(state, &model->state, sizeof model->state);
}

void insitu_host_set_state(MODEL(t) * model, const uint8_t *state) {
  memcpy(&model->state, state, sizeof model->state);
}

/* q[n, input_size] from x[n, input_size], channels first -> channels last; beyond[n]: how many
 * values of each are not finite, or beyond the range. */
void insitu_host_quantize_input(const float *x, int32_t n, MODEL(input_t) * q, int32_t *beyond) {
  const uint64_t mode = begin_ieee();
  for (int32_t i = 0; i < n; ++i) {
    beyond[i] = MODEL(quantize_input)(x, q);
    x += MODEL(input_size);
    q += MODEL(input_size);
  }
  end_ieee(mode);
}

/* scores[n, outputs], predicted[n]: as in run_record */
void insitu_host_predict(MODEL(t) * model, const MODEL(input_t) * x, int32_t n, float *scores,
                         int32_t *predicted) {
  const uint64_t mode = begin_ieee();
  for (int32_t i = 0; i < n; ++i) {
    predicted[i] = predict_with(model, x, scores);
    x += MODEL(input_size);
    scores += MODEL(outputs);
  }
  end_ieee(mode);
}

/* Record i is sample order[i] of x[., input_size] and labels[., label_size]. Returns the first
 * status that is not INSITU_OK, with its record in `failed`, else INSITU_OK. */
int32_t insitu_host_run(MODEL(t) * model, const MODEL(input_t) * x, const MODEL(label_t) * labels,
                        const int32_t *order, const float *rates, int32_t n,
                        const insitu_host_results_t *results, int32_t *failed) {
  float scores[MODEL(outputs)];
  insitu_status_t status = INSITU_OK;
  const uint64_t mode = begin_ieee();
  for (int32_t i = 0; i < n; ++i) {
    const size_t sample = (size_t)order[i];
    insitu_info_t info;
    status = run_record(model, x + sample * MODEL(input_size), labels + sample * MODEL(label_size),
                        rates[i], scores, &info);
    if (status != INSITU_OK) {
      *failed = i;
      break;
    }
    results->predicted[i] = info.predicted;
    results->loss[i] = info.loss;
    results->skipped[i] = info.skipped;
    results->saturated[i] = info.saturated;
  }
  end_ieee(mode);
  return (int32_t)status;
}
