/* How often each basic block of each node ran: exact instruction counts. Unicorn's block hook.
 *
 * Invariant: `current` is the node whose instructions run; below 0 nothing is counted. A block of
 * the function insitu_profile marks a change of node and is not counted itself.
 * Python side: insitu/run/profile.py. */
#include "block_profile.h"

#include <stddef.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

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

static block_t *find(profile_t *profile, uint32_t address, uint32_t bytes, uint32_t instructions) {
  const int32_t node = profile->current;
  uint32_t slot = (address >> 1) * 2654435761U ^ bytes * 40503U ^ (uint32_t)node * 2246822519U;
  for (;; ++slot) {
    block_t *block = &profile->blocks[slot & (profile->capacity - 1U)];
    if (block->bytes == 0U) {
      block->address = address;
      block->bytes = bytes;
      block->instructions =
          instructions > 0U ? instructions : count_instructions(profile, address, bytes);
      block->node = node;
      ++profile->used;
      return block;
    }
    if (block->address == address && block->bytes == bytes && block->node == node) {
      return block;
    }
  }
}

void insitu_count_block(profile_t *profile, uint32_t address, uint32_t bytes,
                        uint32_t instructions) {
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
    profile->last = find(profile, address, bytes, instructions);
    ++profile->last->executions;
  }
}

void insitu_block_hook(void *engine, uint64_t address, uint32_t bytes, void *user_data) {
  (void)engine;
  insitu_count_block(user_data, (uint32_t)address, bytes, 0);
}
