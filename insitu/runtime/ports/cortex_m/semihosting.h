/* Arm semihosting: the firmware asks whoever runs it (QEMU, Unicorn, a debugger) for files.
 * Source: Arm, "Semihosting for AArch32 and AArch64", version 2.0. */
#ifndef INSITU_SEMIHOSTING_H
#define INSITU_SEMIHOSTING_H

#include <stdint.h>

enum {
  SYS_OPEN = 0x01,
  SYS_WRITE0 = 0x04,
  SYS_WRITE = 0x05,
  SYS_READ = 0x06,
  SYS_EXIT = 0x18,
  SYS_EXIT_EXTENDED = 0x20
};
enum { MODE_READ_BINARY = 1, MODE_WRITE_BINARY = 5 };
enum { STOPPED_RUN_TIME_ERROR = 0x20023, STOPPED_APPLICATION_EXIT = 0x20026 };

static inline uintptr_t semihosting(uint32_t operation, uintptr_t argument) {
  register uintptr_t r0 __asm__("r0") = operation;
  register uintptr_t r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

__attribute__((noreturn)) void insitu_exit(uint32_t code);

#endif
