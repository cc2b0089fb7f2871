/* Unicorn's block hook -> how often each basic block of each node ran: exact instruction counts.
 *
 * Invariant: `current` is the node whose instructions run; below 0 nothing is counted. A block of
 * the function insitu_profile marks a change of node and is not counted itself.
 * Python side: insitu/run/profile.py. */
#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

typedef struct {
  uint32_t address, bytes, instructions; /* bytes 0: an empty slot */
  int32_t node;
  uint64_t executions;
  uint64_t taken; /* the block was left for another address than the one behind it */
  uint64_t marks; /* it ended in a call of insitu_profile */
} block_t;

typedef struct {
  const uint8_t *code; /* the image from code_start on */
  uint32_t code_start, code_bytes;
  uint32_t mark; /* address of insitu_profile */
  int32_t current;
  uint32_t capacity, used; /* of blocks[capacity], a power of two */
  block_t *blocks;
  block_t *last;
} profile_t;

EXPORT void insitu_block_hook(void *engine, uint64_t address, uint32_t bytes, void *user_data);

/* Thumb: a first halfword of 0b11101, 0b11110 or 0b11111 begins a 32-bit instruction.
 * Source: ARMv7-M Architecture Reference Manual, A5.1 */
static uint32_t count_instructions(const profile_t *profile, uint32_t address, uint32_t bytes) {
  uint32_t count = 0;
  uint32_t at = address - profile->code_start;
  const uint32_t end = at + bytes;
  while (at < end && at + 2U <= profile->code_bytes) {
    at += (profile->code[at + 1U] >> 3) >= 0x1DU ? 4U : 2U;
    ++count;
  }
  return count;
}

static block_t *find(profile_t *profile, uint32_t address, uint32_t bytes) {
  const int32_t node = profile->current;
  uint32_t slot = (address >> 1) * 2654435761U ^ bytes * 40503U ^ (uint32_t)node * 2246822519U;
  for (;; ++slot) {
    block_t *block = &profile->blocks[slot & (profile->capacity - 1U)];
    if (block->bytes == 0U) {
      block->address = address;
      block->bytes = bytes;
      block->instructions = count_instructions(profile, address, bytes);
      block->node = node;
      ++profile->used;
      return block;
    }
    if (block->address == address && block->bytes == bytes && block->node == node) {
      return block;
    }
  }
}

void insitu_block_hook(void *engine, uint64_t address64, uint32_t bytes, void *user_data) {
  profile_t *profile = user_data;
  const uint32_t address = (uint32_t)address64;
  (void)engine;
  if (address == profile->mark) {
    if (profile->last != NULL) {
      ++profile->last->marks;
    }
    profile->last = NULL;
    return;
  }
  if (profile->last != NULL && profile->last->address + profile->last->bytes != address) {
    ++profile->last->taken;
  }
  profile->last = NULL;
  if (profile->current >= 0 && bytes > 0U && profile->used + 1U < profile->capacity) {
    profile->last = find(profile, address, bytes);
    ++profile->last->executions;
  }
}
