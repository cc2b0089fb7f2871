/* insitu_conv_microkernels.h for cores with the DSP extension, Cortex-M4, M7, M33: the products. */
#include "insitu_conv_microkernels.h"

#if defined(__ARM_FEATURE_DSP) && !defined(__ARM_FEATURE_MVE)
#include "insitu_dsp.h"
#include "insitu_naked.h"

INSITU_NAKED_BEGIN

enum { UNROLLED = 16, PAIR_BYTES = 44 }; /* pairs in the loop, and the code of each */

/* The epilogue of a block's eight sums, and how its outputs are stored: places in the table at the
 * end of microkernel_2x4. */
enum { SUMS = 0, ADDED = 4, WIDE = 8, SHORT = 12, ERRORS = 16, WHOLE = 20, PART = 24 };

/* Blocks one after the other: each as insitu_conv_block_t says, then on to the next a and b.
 *
 * SUMS: sums[8] to `to`, all from one start; ADDED: from where they are. Others: outputs to `to`
 * and `step` behind it, as `output` says; WIDE where values may leave int16, SHORT where not;
 * ERRORS: of one multiplier, no zero point, clamped to [-127, 127]; WHOLE four of them, PART
 * `channels` of them. */
typedef struct {
  int32_t bytes, more; /* of a in a line; lines behind the first */
  const int32_t *start;
  int32_t jump, skip_a, skip_b;
  int32_t next_a, next_b; /* bytes from the end of a block's last line */
  int32_t epilogue, store;
  insitu_conv_output_t *output;
  void *to, *end;
  int32_t step, channels;
} insitu_conv_blocks_t;

/* acc rounded to its value, two channels of a multiplier each. */
#define INSITU_RESCALE_TWO(OFFSET, A, B, C, D)                                                     \
  "ldrd r11, r12, [r0, #" OFFSET "]\n\t"                                                           \
  "smmulr " A ", " A ", r11\n\t"                                                                   \
  "smmulr " B ", " B ", r11\n\t"                                                                   \
  "smmulr " C ", " C ", r12\n\t"                                                                   \
  "smmulr " D ", " D ", r12\n\t"
#define INSITU_RESCALE_EIGHT                                                                       \
  "ldr r0, [sp, #48]\n\t" INSITU_RESCALE_TWO("0", "r3", "r7", "r4", "r8")                          \
      INSITU_RESCALE_TWO("8", "r5", "r9", "r6", "r10")

/* On to the next block at BEGIN; r0 is where it goes, r12 the end of that. */
#define INSITU_NEXT_BLOCK(BEGIN)                                                                   \
  "str r0, [sp, #52]\n\t"                                                                          \
  "cmp r0, r12\n\t"                                                                                \
  "ldrd r11, r12, [sp, #32]\n\t"                                                                   \
  "add r1, r1, r11\n\t"                                                                            \
  "add r2, r2, r12\n\t"                                                                            \
  "bne " BEGIN "\n\t"                                                                              \
  "add sp, sp, #68\n\t"                                                                            \
  "pop {r4-r11, pc}\n"

/* Sums in r3-r6 and r7-r10, a in r1, b in r2. A pair is 11 instructions of 4 bytes; the loop is
 * entered so far in that it ends with the line. On the stack: where a's line ends, lines left, and
 * the blocks, with addresses for its jump, its epilogue and its store. */
INSITU_NAKED static void microkernel_2x4(const insitu_conv_blocks_t *blocks, const int16_t *a,
                                         const int16_t *b) {
  __asm__ volatile(
      "push {r4-r11, lr}\n\t"
      "sub sp, sp, #68\n\t"
      "ldm r0!, {r3-r10}\n\t"
      "adr.w r12, 1f\n\t"
      "add r6, r6, r12\n\t"
      "add r11, sp, #8\n\t"
      "stm r11!, {r3-r10}\n\t"
      "ldm r0, {r3-r9}\n\t"
      "adr.w r12, 9f\n\t"
      "ldr r3, [r12, r3]\n\t"
      "ldr r4, [r12, r4]\n\t"
      "add r3, r3, r12\n\t"
      "add r4, r4, r12\n\t"
      "stm r11, {r3-r9}\n"
      "2:\n\t" /* a block */
      "ldrd r0, r12, [sp, #8]\n\t"
      "add r0, r0, r1\n\t"
      "strd r0, r12, [sp]\n"
      "14:\n\t" /* one with the same a */
      "ldrd r0, r12, [sp, #16]\n\t"
      "ldm r0, {r3-r10}\n\t"
      "bx r12\n\t"
      ".balign 4\n"
      "1:\n\t"
      ".rept 16\n\t"
      "ldrd r11, r12, [r1], #8\n\t"
      "ldrd r0, lr, [r2], #8\n\t"
      "smlad r3, r11, r0, r3\n\t"
      "smlad r7, r12, r0, r7\n\t"
      "smlad r4, r11, lr, r4\n\t"
      "smlad r8, r12, lr, r8\n\t"
      "ldrd r0, lr, [r2], #8\n\t"
      "smlad r5, r11, r0, r5\n\t"
      "smlad r9, r12, r0, r9\n\t"
      "smlad r6, r11, lr, r6\n\t"
      "smlad r10, r12, lr, r10\n\t"
      ".endr\n\t"
      "ldrd r12, r0, [sp]\n\t"
      "cmp r1, r12\n\t"
      "bne 1b\n\t"
      "cbnz r0, 3f\n\t"
      "ldr pc, [sp, #40]\n"
      "3:\n\t" /* the next line */
      "sub r0, r0, #1\n\t"
      "str r0, [sp, #4]\n\t"
      "ldrd r11, r12, [sp, #24]\n\t"
      "ldr r0, [sp, #8]\n\t"
      "add r1, r1, r11\n\t"
      "add r2, r2, r12\n\t"
      "add r0, r0, r1\n\t"
      "str r0, [sp]\n\t"
      "ldr pc, [sp, #20]\n"
      "4:\n\t" /* sums, added */
      "ldr r0, [sp, #52]\n\t"
      "add r0, r0, #32\n\t"
      "str r0, [sp, #16]\n"
      "5:\n\t" /* sums */
      "ldrd r0, r12, [sp, #52]\n\t"
      "stm r0!, {r3-r10}\n\t" INSITU_NEXT_BLOCK(
          "14b") "6:\n\t" /* clamped */
      INSITU_RESCALE_EIGHT ".irp v, r3, r4, r5, r6, r7, r8, r9, r10\n\t"
                 "ssat \\v, #16, \\v\n\t"
                 ".endr\n\t"
                 "b 8f\n"
                 "7:\n\t"           /* short */
      INSITU_RESCALE_EIGHT "8:\n\t" /* even and odd channels of both positions: r3, r4, r5, r6 */
                 "pkhbt r3, r3, r5, lsl #16\n\t"
                 "pkhbt r4, r4, r6, lsl #16\n\t"
                 "pkhbt r5, r7, r9, lsl #16\n\t"
                 "pkhbt r6, r8, r10, lsl #16\n\t"
                 "ldrd r11, r12, [r0, #28]\n\t" /* lowest, highest */
                 "ssub16 lr, r3, r4\n\t"
                 "sel r7, r3, r4\n\t"
                 "sel r8, r4, r3\n\t"
                 "ssub16 lr, r5, r6\n\t"
                 "sel r9, r5, r6\n\t"
                 "sel r10, r6, r5\n\t"
                 "ssub16 lr, r7, r12\n\t"
                 "sel r12, r7, r12\n\t"
                 "ssub16 lr, r9, r12\n\t"
                 "sel r12, r9, r12\n\t"
                 "ssub16 lr, r11, r8\n\t"
                 "sel r11, r8, r11\n\t"
                 "ssub16 lr, r11, r10\n\t"
                 "sel r11, r10, r11\n\t"
                 "strd r11, r12, [r0, #28]\n\t"
                 "ldrd r7, r8, [r0, #16]\n\t" /* zero - low, low */
                 "ldr r9, [r0, #24]\n\t"      /* high - low */
                 ".irp v, r3, r4, r5, r6\n\t"
                 "qadd16 \\v, \\v, r7\n\t"
                 "usat16 \\v, #8, \\v\n\t"
                 ".endr\n\t"
                 "orr r3, r3, r4, lsl #8\n\t"
                 "orr r5, r5, r6, lsl #8\n\t"
                 ".irp v, r3, r5\n\t"
                 "usub8 lr, r9, \\v\n\t"
                 "sel \\v, \\v, r9\n\t"
                 "uadd8 \\v, \\v, r8\n\t"
                 ".endr\n\t"
                 "ldr pc, [sp, #44]\n"
                 "10:\n\t" /* errors */
                 "ldr r0, [sp, #48]\n\t"
                 "ldr r0, [r0]\n\t"
                 ".irp v, r3, r4, r5, r6, r7, r8, r9, r10\n\t"
                 "smmulr \\v, \\v, r0\n\t"
                 "ssat \\v, #8, \\v\n\t"
                 ".endr\n\t"
                 "bfi r3, r4, #8, #8\n\t"
                 "bfi r5, r6, #8, #8\n\t"
                 "bfi r7, r8, #8, #8\n\t"
                 "bfi r9, r10, #8, #8\n\t"
                 "pkhbt r3, r3, r5, lsl #16\n\t"
                 "pkhbt r5, r7, r9, lsl #16\n\t"
                 "mov lr, #0x01010101\n\t"
                 ".irp v, r3, r5\n\t"
                 "qsub8 \\v, \\v, lr\n\t"
                 "qadd8 \\v, \\v, lr\n\t" /* no -128 */
                 ".endr\n\t"
                 "ldr pc, [sp, #44]\n"
                 "11:\n\t" /* whole */
                 "ldrd r0, r12, [sp, #52]\n\t"
                 "ldr r11, [sp, #60]\n\t"
                 "str r3, [r0]\n\t"
                 "str r5, [r0, r11]\n\t"
                 "add r0, r0, r11, lsl #1\n\t" INSITU_NEXT_BLOCK(
                     "2b") "12:\n\t" /* part */
                           "ldrd r0, r12, [sp, #52]\n\t"
                           "ldr r11, [sp, #60]\n\t"
                           "ldr r4, [sp, #64]\n\t"
                           "mov r6, r0\n\t"
                           "add r7, r0, r11\n"
                           "13:\n\t"
                           "strb r3, [r6], #1\n\t"
                           "strb r5, [r7], #1\n\t"
                           "lsr r3, r3, #8\n\t"
                           "lsr r5, r5, #8\n\t"
                           "subs r4, r4, #1\n\t"
                           "bne 13b\n\t"
                           "add r0, r0, r11, lsl #1\n\t" INSITU_NEXT_BLOCK(
                               "2b") ".balign 4\n"
                                     "9:\n\t" /* 1: Thumb code */
                                     ".word 5b - 9b + 1, 4b - 9b + 1, 6b - 9b + 1, 7b - 9b + 1, 10b - 9b + 1, 11b - 9b + 1\n\t"
                                     ".word 12b - 9b + 1");
}

insitu_conv_block_t insitu_block(int32_t pairs, int32_t lines, int32_t skip_a, int32_t skip_b,
                                 const int32_t *start) {
  const insitu_conv_block_t block = {(-pairs & (UNROLLED - 1)) * PAIR_BYTES + 1, /* 1: Thumb code */
                                     pairs * 8,
                                     lines,
                                     skip_a * 2,
                                     skip_b * 2,
                                     start};
  return block;
}

/* Sums of one block after the other. All fields are given: a compiler would clear them first. */
static insitu_conv_blocks_t blocks_of_sums(const insitu_conv_block_t *block, int32_t *sums,
                                           int32_t count) {
  const insitu_conv_blocks_t blocks = {
      .bytes = block->bytes,
      .more = block->lines - 1,
      .start = block->start,
      .jump = block->jump,
      .skip_a = block->skip_a,
      .skip_b = block->skip_b,
      .next_a = 0,
      .next_b = 0,
      .epilogue = SUMS,
      .store = WHOLE,
      .output = 0,
      .to = sums,
      .end = sums + count * INSITU_POSITIONS * INSITU_CHANNELS,
      .step = 0,
      .channels = INSITU_CHANNELS,
  };
  return blocks;
}

void insitu_multiply_block(const insitu_conv_block_t *block, const int16_t *a, const int16_t *b,
                           int32_t *acc) {
  const insitu_conv_blocks_t blocks = blocks_of_sums(block, acc, 1);
  microkernel_2x4(&blocks, a, b);
}

void insitu_multiply_lines(const insitu_conv_lines_t *lines, int32_t add, const int16_t *a,
                           const int16_t *b, int32_t *sums) {
  static const int32_t zeros[INSITU_POSITIONS * INSITU_CHANNELS] = {0};
  const insitu_conv_block_t block = insitu_block(lines->pairs, 1, 0, 0, zeros);
  insitu_conv_blocks_t blocks = blocks_of_sums(&block, sums, lines->blocks);
  blocks.next_a = -block.bytes;
  blocks.next_b = 2 * (lines->next - block.bytes);
  blocks.epilogue = add ? ADDED : SUMS;
  for (int32_t k = 0, phase = 0; k < lines->count; k++) {
    if (add)
      blocks.start = blocks.to;
    microkernel_2x4(&blocks, a, b + phase * lines->phase);
    if (++phase == lines->stride) {
      phase = 0;
      b += lines->line;
    }
    blocks.to = blocks.end;
    blocks.end = (int32_t *)blocks.end + lines->blocks * INSITU_POSITIONS * INSITU_CHANNELS;
  }
}

/* Fields of bytes and halves as the assembly wants them. */
insitu_conv_output_t insitu_output(int32_t shift, int32_t zero, int32_t low, int32_t high) {
  const uint32_t every = 0x01010101u;
  const insitu_conv_output_t output = {{0},
                                       (int32_t)dup_s16x2(zero - low),
                                       (int32_t)((uint32_t)(low & 0xFF) * every),
                                       (int32_t)((uint32_t)(high - low) * every),
                                       0,
                                       0,
                                       shift};
  return output;
}

int32_t insitu_observe(const insitu_conv_output_t *output, int32_t *observed) {
  observed[0] = insitu_min((int16_t)output->lowest, output->lowest >> 16);
  observed[1] = insitu_max((int16_t)output->highest, output->highest >> 16);
  return observed[0] > INT16_MIN && observed[1] < INT16_MAX;
}

void insitu_epilogue_block(insitu_conv_output_t *output, int32_t *acc, int8_t *y, int32_t step) {
  const insitu_conv_block_t block = {UNROLLED * PAIR_BYTES + 1, 0, 1, 0, 0, acc};
  insitu_conv_blocks_t blocks = blocks_of_sums(&block, acc, 1);
  blocks.epilogue = WIDE;
  blocks.output = output;
  blocks.to = y;
  blocks.end = y + INSITU_POSITIONS * step;
  blocks.step = step;
  if (output->shift > 0) { /* as insitu_rescale */
    const int32_t limit = (1 << 30) >> output->shift;
    for (int32_t j = 0; j < INSITU_POSITIONS * INSITU_CHANNELS; j++)
      acc[j] = insitu_clamp(acc[j], -limit, limit) * (1 << output->shift);
  }
  microkernel_2x4(&blocks, (const int16_t *)(const void *)acc, (const int16_t *)(const void *)acc);
}

/* Whether the values of a block may leave int16. */
static int32_t is_wide(const insitu_conv_tile_t *tile) {
  int32_t multiplier = 0, start = 0;
  for (int32_t j = 0; j < INSITU_CHANNELS; j++) {
    multiplier = insitu_max(multiplier, tile->output.multiplier[j]);
    start = insitu_max(start, insitu_max(tile->start[j], -tile->start[j]));
  }
  const uint32_t products = (uint32_t)(tile->block.bytes / 4 * tile->block.lines);
  const uint32_t largest = products * (255 * 127) + (uint32_t)start;
  return (uint64_t)largest * (uint32_t)multiplier >> 32 >= INT16_MAX;
}

int32_t insitu_conv_blocks(insitu_conv_tile_t *tile, const int16_t *a, const int16_t *b,
                           int8_t *y) {
  const insitu_conv_block_t *block = &tile->block;
  const int32_t columns = tile->columns & ~1;
  if (columns == 0 || tile->output.shift > 0)
    return 0;
  insitu_conv_blocks_t blocks = blocks_of_sums(block, 0, 0);
  blocks.next_a = 2 * tile->pair_a - block->lines * blocks.bytes - blocks.more * blocks.skip_a;
  blocks.next_b = -2 * block->lines * blocks.bytes - blocks.more * blocks.skip_b;
  blocks.epilogue = tile->errors ? ERRORS : is_wide(tile) ? WIDE : SHORT;
  blocks.store = tile->channels == INSITU_CHANNELS ? WHOLE : PART;
  blocks.output = &tile->output;
  blocks.step = tile->column_y;
  blocks.channels = tile->channels;
  for (int32_t row = 0; row < tile->rows; row++, a += tile->row_a, y += tile->row_y) {
    blocks.to = y;
    blocks.end = y + columns * tile->column_y;
    microkernel_2x4(&blocks, a, b);
  }
  return columns;
}

INSITU_NAKED_END

#endif
