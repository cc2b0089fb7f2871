/* records.bin -> results.bin: a model on an emulated board, fed by semihosting.
 *
 * records.bin: header_t, then records, in a build with marks each behind a state where the header
 * says so. results.bin: one result_t a record; where all went well the stack's high-water mark in
 * bytes and the model's state follow.
 * Python side: insitu/run/emulator.py. */
#include <stdint.h>

#include "harness.h"
#include "semihosting.h"
#include "stack.h"

typedef struct {
  uint32_t seed;
  int32_t records;
  int32_t input_size, element_bytes;
  int32_t label_size, float_labels;
  uint32_t state_bytes; /* 0, or those of the state that stands before each record */
} header_t;

typedef struct {
  MODEL(label_t) label[MODEL(label_size)];
  float rate;
  MODEL(input_t) x[(MODEL(input_size) + 3) / 4 * 4];
} record_t;

typedef struct {
  int32_t status; /* insitu_status_t; WRONG_INPUT, then `predicted` is the right size and `skipped`
                   * the bytes of an element; WRONG_LABEL, then the size, and whether floats */
  insitu_info_t info;
} result_t;

enum { WRONG_INPUT = -1, WRONG_LABEL = -2 };

static MODEL(t) model __attribute__((section(".bss.insitu_state")));
static MODEL(arena_t) arena __attribute__((section(".bss.insitu_arena")));
static record_t record;
static float scores[MODEL(outputs)];

static uintptr_t open_file(const char *name, uint32_t name_bytes, uint32_t mode) {
  const uintptr_t arguments[3] = {(uintptr_t)name, mode, name_bytes};
  return semihosting(SYS_OPEN, (uintptr_t)arguments);
}

/* 0 where everything was read or written */
static uintptr_t transfer(uint32_t operation, uintptr_t file, const void *data, uint32_t bytes) {
  const uintptr_t arguments[3] = {file, (uintptr_t)data, bytes};
  return semihosting(operation, (uintptr_t)arguments);
}

/* More than there is room for where the guard changed. */
static uint32_t stack_high_water_bytes(void) {
  const volatile uint32_t *p = insitu_stack_guard;
  while (p < insitu_stack_top && *p == STACK_PAINT) {
    ++p;
  }
  return (uint32_t)((uintptr_t)insitu_stack_top - (uintptr_t)p);
}

/* 0, or why the records are for another model. */
static int32_t what_is_wrong(const header_t *header, insitu_info_t *info) {
  const int32_t element_bytes = (int32_t)sizeof(MODEL(input_t));
  if (header->input_size != MODEL(input_size) || header->element_bytes != element_bytes) {
    info->predicted = MODEL(input_size);
    info->skipped = element_bytes;
    return WRONG_INPUT;
  }
  info->predicted = MODEL(label_size);
  info->skipped = MODEL(float_labels);
  return header->label_size == MODEL(label_size) && header->float_labels == MODEL(float_labels)
             ? 0
             : WRONG_LABEL;
}

int main(void) {
  header_t header = {0, 0, 0, 0, 0, 0, 0};
  result_t refusal = {0, {0.0F, 0, 0, 0}};
  const uintptr_t in = open_file("records.bin", 11, MODE_READ_BINARY);
  const uintptr_t out = open_file("results.bin", 11, MODE_WRITE_BINARY);
  if (transfer(SYS_READ, in, &header, sizeof header) != 0U) {
    return 2;
  }
  refusal.status = what_is_wrong(&header, &refusal.info);
  if (refusal.status != 0) {
    transfer(SYS_WRITE, out, &refusal, sizeof refusal);
    return 3;
  }
  for (uint32_t i = 0; i < sizeof arena.bytes; ++i) {
    arena.bytes[i] = ARENA_POISON;
  }
  refusal.status = (int32_t)MODEL(init)(&model, &arena);
  if (refusal.status != (int32_t)INSITU_OK) {
    transfer(SYS_WRITE, out, &refusal, sizeof refusal);
    return 7;
  }
  MODEL(set_seed)(&model, header.seed);
  for (int32_t i = 0; i < header.records; ++i) {
    result_t result;
#ifdef INSITU_PROFILE_HOOK
    if (header.state_bytes == sizeof model.state &&
        transfer(SYS_READ, in, &model.state, sizeof model.state) != 0U) {
      return 4;
    }
#endif
    if (transfer(SYS_READ, in, &record, sizeof record) != 0U) {
      return 4;
    }
    result.status =
        (int32_t)run_record(&model, record.x, record.label, record.rate, scores, &result.info);
    if (transfer(SYS_WRITE, out, &result, sizeof result) != 0U) {
      return 5;
    }
    if (result.status != (int32_t)INSITU_OK) {
      return 6;
    }
  }
  const uint32_t stack_bytes = stack_high_water_bytes();
  if (transfer(SYS_WRITE, out, &stack_bytes, sizeof stack_bytes) != 0U ||
      transfer(SYS_WRITE, out, &model.state, sizeof model.state) != 0U) {
    return 5;
  }
  return 0;
}
