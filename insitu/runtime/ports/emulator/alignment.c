/* Unicorn's code hook: ends the run where LDRD, LDM or one of their kind has an address that is no
 * multiple of four, which faults on every core and not in Unicorn. SP has such addresses always.
 * Python side: insitu/run/alignment.py. */
#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

typedef struct {
  const uint8_t *bases; /* by halfword of code: Unicorn's number of the register, or 0 */
  uint32_t code_start, code_halfwords;
  int (*read_register)(void *engine, int number, void *value);
  int (*stop)(void *engine);
  uint32_t faults, pc, address; /* of the first fault */
} alignment_t;

EXPORT void insitu_alignment_hook(void *engine, uint64_t address, uint32_t bytes, void *user_data);

void insitu_alignment_hook(void *engine, uint64_t address, uint32_t bytes, void *user_data) {
  alignment_t *alignment = user_data;
  const uint32_t at = ((uint32_t)address - alignment->code_start) / 2U;
  uint32_t value = 0;
  (void)bytes;
  if (at >= alignment->code_halfwords || alignment->bases[at] == 0U) {
    return;
  }
  alignment->read_register(engine, alignment->bases[at], &value);
  if (value % 4U != 0U && alignment->faults++ == 0U) {
    alignment->pc = (uint32_t)address;
    alignment->address = value;
    alignment->stop(engine);
  }
}
