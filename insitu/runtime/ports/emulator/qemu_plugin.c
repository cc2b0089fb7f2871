/* The same counts by QEMU, as a plugin of its translator, for cores that Unicorn does not have.
 *
 * Arguments: mark=ADDRESS of insitu_profile, digits=ADDRESS of insitu_profile_digits, first=N and
 * last=N, which records are counted (a record ends with the mark -1), out=FILE for the blocks. The
 * node of a mark is seen by the digits that it executes, since plugins cannot read registers before
 * QEMU 9.
 * The declarations are QEMU's, include/qemu/qemu-plugin.h, whose file is seldom installed; they are
 * weak, since the library is loaded outside of QEMU too. Python side: insitu/run/profile.py. */
#ifdef __ELF__
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block_profile.h"

#define EXPORT __attribute__((visibility("default")))
#define WEAK __attribute__((weak, visibility("default")))

typedef uint64_t plugin_id_t;
typedef struct qemu_plugin_tb tb_t;
typedef struct qemu_plugin_insn insn_t;
typedef void (*translated_t)(plugin_id_t id, tb_t *tb);
typedef void (*executed_t)(unsigned int cpu, void *data);
typedef void (*ended_t)(plugin_id_t id, void *data);

WEAK void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id_t id, translated_t call);
WEAK void qemu_plugin_register_vcpu_tb_exec_cb(tb_t *tb, executed_t call, int flags, void *data);
WEAK void qemu_plugin_register_atexit_cb(plugin_id_t id, ended_t call, void *data);
WEAK size_t qemu_plugin_tb_n_insns(const tb_t *tb);
WEAK uint64_t qemu_plugin_tb_vaddr(const tb_t *tb);
WEAK insn_t *qemu_plugin_tb_get_insn(const tb_t *tb, size_t index);
WEAK size_t qemu_plugin_insn_size(const insn_t *insn);
WEAK uint64_t qemu_plugin_insn_vaddr(const insn_t *insn);
WEAK void qemu_plugin_scoreboard_free(void *scoreboard); /* since version 2 */

EXPORT extern int qemu_plugin_version;
EXPORT int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv);

enum { NO_REGISTERS = 0, BLOCKS = 1 << 16 };
enum { DIGITS = 4, DIGIT_BITS = 4, DIGIT_BYTES = 2 };

int qemu_plugin_version = 1;

typedef struct {
  uint32_t address, bytes, instructions;
} translation_t;

static block_t blocks[BLOCKS];
static profile_t profile = {.current = -1, .capacity = BLOCKS, .blocks = blocks};
static uint32_t digits;
static int64_t record, first, last;
static int32_t seen; /* digits of the mark */
static uint32_t value;
static const char *out = "blocks.bin";

__attribute__((constructor)) static void choose_version(void) {
  if (&qemu_plugin_scoreboard_free != NULL) {
    qemu_plugin_version = 2;
  }
}

/* The last digit of a mark says which node begins. */
static void take_digit(uint32_t digit) {
  value |= digit << (seen * DIGIT_BITS);
  ++seen;
  if (seen == DIGITS) {
    const int32_t node = (int16_t)value;
    profile.current = record >= first && record < last ? node : -1;
    record += node < 0;
  }
}

static void execute(unsigned int cpu, void *data) {
  const translation_t *translation = data;
  const uint32_t digit = (translation->address - digits) / DIGIT_BYTES;
  (void)cpu;
  if (digit < 1U << DIGIT_BITS) {
    take_digit(digit);
    return;
  }
  insitu_count_block(&profile, translation->address, translation->bytes, translation->instructions);
  if (translation->address == profile.mark) {
    profile.current = -1; /* its own instructions are nobody's */
    seen = 0;
    value = 0;
  }
}

/* Translations stay until QEMU ends. */
static void translate(plugin_id_t id, tb_t *tb) {
  const size_t count = qemu_plugin_tb_n_insns(tb);
  const insn_t *end = qemu_plugin_tb_get_insn(tb, count - 1);
  translation_t *translation = malloc(sizeof *translation);
  (void)id;
  if (translation == NULL) {
    abort();
  }
  translation->address = (uint32_t)qemu_plugin_tb_vaddr(tb);
  translation->instructions = (uint32_t)count;
  translation->bytes =
      (uint32_t)(qemu_plugin_insn_vaddr(end) + qemu_plugin_insn_size(end)) - translation->address;
  qemu_plugin_register_vcpu_tb_exec_cb(tb, execute, NO_REGISTERS, translation);
}

static void finish(plugin_id_t id, void *data) {
  FILE *file = fopen(out, "wb");
  (void)id;
  (void)data;
  if (file != NULL) {
    for (size_t i = 0; i < BLOCKS; ++i) {
      if (blocks[i].bytes > 0U) {
        fwrite(&blocks[i], sizeof blocks[i], 1, file);
      }
    }
    fclose(file);
  }
}

int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; ++i) {
    const char *text = strchr(argv[i], '=');
    if (text == NULL) {
      return 1;
    }
    ++text;
    if (argv[i][0] == 'm') {
      profile.mark = (uint32_t)strtoul(text, NULL, 0);
    } else if (argv[i][0] == 'd') {
      digits = (uint32_t)strtoul(text, NULL, 0);
    } else if (argv[i][0] == 'f') {
      first = strtoll(text, NULL, 0);
    } else if (argv[i][0] == 'l') {
      last = strtoll(text, NULL, 0);
    } else {
      out = text;
    }
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
  qemu_plugin_register_atexit_cb(id, finish, NULL);
  return 0;
}
#else
typedef int insitu_no_plugin_t;
#endif
