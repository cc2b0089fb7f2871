/* Bytes -> calls of a generated model, in any order, on states that nobody made: with libFuzzer.
 *
 * What may not happen is for the sanitizers to say. Python side: bench/fuzz_c.py. */
#include "harness.h"

#include <stddef.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static MODEL(t) model; /* zeros, as before any init */
static MODEL(arena_t) arena;
static const uint8_t *next, *end;
static uint32_t random;

static uint32_t draw(void) {
  random = random * 1664525U + 1013904223U;
  return random ^ random >> 15;
}

static uint32_t take(void) { return next < end ? *next++ : draw() & 0xFFU; }

static uint32_t take_word(void) {
  const uint32_t low = take() | take() << 8;
  return low | take() << 16 | take() << 24;
}

/* A word at the edge of what an integer or a float can be. */
static uint32_t special_word(uint32_t which) {
  static const uint32_t words[] = {
      0U,          1U,          0x7FFFFFFFU, 0x80000000U, 0x80000001U, 0xFFFFFFFFU, 0x40000000U,
      0xC0000000U, 0x7F800000U, 0xFF800000U, 0x7FC00000U, 0xFFC00001U, 0x00000001U, 0x80000001U,
      0x00800000U, 0x7F7FFFFFU, 0xFF7FFFFFU, 0x4F000000U, 0xCF000000U, 0x7FFF8000U, 0x00008000U,
      0x3F800000U, 0x7F7F7F7FU, 0x80808080U, 0x81818181U,
  };
  return words[which % (sizeof words / sizeof *words)];
}

static float take_float(void) {
  const uint32_t bits = take() & 1U ? special_word(take()) : take_word();
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* A piece of the state, of words at the edge, of bytes as they come, or as it was but for bits. */
static void corrupt(void) {
  uint8_t *const state = (uint8_t *)&model.state;
  const size_t whole = sizeof model.state / 4;
  const size_t first = take_word() % whole;
  size_t words = take() & 1U ? whole : 1U + take() % 16U;
  const uint32_t kind = take() % 3U, which = take();
  words = words > whole - first ? whole - first : words;
  for (size_t i = first; i < first + words; ++i) {
    uint32_t word;
    memcpy(&word, state + 4 * i, sizeof word);
    word = kind == 0U ? special_word(which) : kind == 1U ? draw() : word ^ 1U << draw() % 32U;
    memcpy(state + 4 * i, &word, sizeof word);
  }
}

static const MODEL(input_t) * take_sample(void) {
  static MODEL(input_t) x[MODEL(input_size)];
  float sample[MODEL(input_size)];
  const float all = take_float();
  const uint32_t kind = take() % 3U;
  for (int32_t i = 0; i < MODEL(input_size); ++i) {
    sample[i] = kind == 0U ? all : (float)(int32_t)draw() * 1e-9F;
  }
  MODEL(quantize_input)(sample, x);
  if (kind == 2U) {
    memset(x, (int)take(), sizeof x);
  }
  return x;
}

static void predict(void) {
  float scores[MODEL(outputs)];
  (void)predict_with(&model, take_sample(), scores);
}

static void train(void) {
  const MODEL(input_t) *const x = take_sample();
  MODEL(label_t) label[MODEL(label_size)];
  insitu_info_t info;
  for (int32_t i = 0; i < MODEL(label_size); ++i) {
#if MODEL(float_labels)
    label[i] = take_float();
#else
    const uint32_t word = take();
    label[i] = word < 240U ? (int32_t)word % MODEL(outputs) : (int32_t)take_word();
#endif
  }
  (void)train_on(&model, x, label, take() % 4U ? &info : NULL);
}

static void start(void) {
  memset(&arena, (int)take(), sizeof arena);
  (void)MODEL(init)(&model, &arena);
}

/* After these no call may predict or train. */
static void start_wrong(void) {
  const uint32_t how = take() % 9U;
  if (how == 8U) {
    memset(&model, 0, sizeof model);
  } else {
    (void)MODEL(init)(&model, how == 0U ? NULL : arena.bytes + how);
  }
}

static void set_rate(void) {
  if (MODEL(set_learning_rate)(&model, take_float()) != INSITU_OK) {
    (void)MODEL(set_learning_rate)(&model, 1.0F / (float)(1U + take()));
  }
}

static void ask(void) {
  (void)MODEL(get_learning_rate)(&model);
  (void)MODEL(get_seed)(&model);
  (void)MODEL(saturated_weights)(&model);
  MODEL(set_seed)(&model, take_word());
  (void)insitu_cosine_rate(take_float(), take_word(), take_word());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const calls[])(void) = {start,   start_wrong, predict,  train, train, train,
                                        corrupt, corrupt,     set_rate, ask,   train, start};
  next = data;
  end = data + size;
  random = 1U;
  memset(&model, 0, sizeof model);
  while (next < end) {
    calls[take() % (sizeof calls / sizeof *calls)]();
  }
  return 0;
}
