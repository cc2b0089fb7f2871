/* From reset to main on an emulated Cortex-M: FPU, data, bss, painted stack; faults end the run.
 * The symbols that are not defined here come from cortex_m.ld. */
#include <stdint.h>

#include "semihosting.h"
#include "stack.h"

extern uint32_t insitu_data_start[], insitu_data_end[], insitu_data_load[];
extern uint32_t insitu_bss_start[], insitu_bss_end[];

int main(void);
__attribute__((noreturn)) void insitu_reset(void);
__attribute__((noreturn)) void insitu_report_fault(const uint32_t *frame);
void insitu_fault(void);

enum { FRAME_PC = 6 }; /* r0 r1 r2 r3 r12 lr pc xpsr */

#define CFSR (*(volatile uint32_t *)0xE000ED28)
#define HFSR (*(volatile uint32_t *)0xE000ED2C)
#define CPACR (*(volatile uint32_t *)0xE000ED88)
#define VTOR (*(volatile uintptr_t *)0xE000ED08)

void insitu_exit(uint32_t code) {
#ifdef __ARM_ARCH_6M__
  semihosting(SYS_EXIT, code == 0U ? STOPPED_APPLICATION_EXIT : STOPPED_RUN_TIME_ERROR);
#else
  const uint32_t why[2] = {STOPPED_APPLICATION_EXIT, code};
  semihosting(SYS_EXIT_EXTENDED, (uintptr_t)why);
#endif
  for (;;) {
  }
}

/* From the last variable up to this function's own frame. */
static void paint_stack(void) {
  const uint32_t *here = (const uint32_t *)__builtin_frame_address(0);
  for (volatile uint32_t *p = insitu_stack_guard; p + PAINT_GAP_WORDS < here; ++p) {
    *p = STACK_PAINT;
  }
}

typedef void (*vector_t)(void);

__attribute__((section(".vectors"), used)) static const vector_t vectors[16] = {
    (vector_t)(uintptr_t)insitu_stack_top,
    insitu_reset,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
    insitu_fault,
};

void insitu_reset(void) {
#ifdef __ARM_FP
  CPACR |= 0xFU << 20; /* full access to CP10 and CP11; Source: ARMv7-M, B3.2.20 */
  __asm__ volatile("dsb\n\tisb");
#endif
#ifndef __ARM_ARCH_6M__
  VTOR = (uintptr_t)vectors; /* where the first two do not lie at the core's own address */
#endif
  const uint32_t *from = insitu_data_load;
  for (volatile uint32_t *to = insitu_data_start; to < insitu_data_end; ++to) {
    *to = *from++;
  }
  for (volatile uint32_t *to = insitu_bss_start; to < insitu_bss_end; ++to) {
    *to = 0;
  }
  paint_stack();
  insitu_exit((uint32_t)main());
}

static void put_word(const char *name, uint32_t value) {
  char text[9];
  for (int32_t i = 0; i < 8; ++i) {
    const uint32_t digit = (value >> (28 - 4 * i)) & 0xFU;
    text[i] = (char)(digit < 10U ? '0' + digit : 'a' + digit - 10U);
  }
  text[8] = '\0';
  semihosting(SYS_WRITE0, (uintptr_t)name);
  semihosting(SYS_WRITE0, (uintptr_t)text);
}

void insitu_report_fault(const uint32_t *frame) {
  put_word("fault at pc 0x", frame[FRAME_PC]);
#ifndef __ARM_ARCH_6M__
  put_word(", cfsr 0x", CFSR);
  put_word(", hfsr 0x", HFSR);
#endif
  insitu_exit(1);
}

__attribute__((naked)) void insitu_fault(void) {
  __asm__ volatile("mrs r0, msp\n\tldr r1, =insitu_report_fault\n\tbx r1\n\t.ltorg");
}
