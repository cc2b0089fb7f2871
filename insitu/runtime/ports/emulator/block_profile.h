/* What is known of every basic block that an emulator executed. Python side: insitu/run/profile.py.
 */
#ifndef INSITU_BLOCK_PROFILE_H
#define INSITU_BLOCK_PROFILE_H

#include <stdint.h>

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

/* A block is about to run; instructions 0: they are counted in the code. */
void insitu_count_block(profile_t *profile, uint32_t address, uint32_t bytes,
                        uint32_t instructions);

#endif
