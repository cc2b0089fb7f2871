/* The mark that generated code sets before each node when it is built with INSITU_PROFILE_HOOK.
 * Emulators know it by its address; see insitu/run/profile.py. Unicorn reads the node from r0. A
 * plugin of QEMU cannot, and sees which digits are executed: INSITU_PROFILE_DIGITS. */
#include <stdint.h>

void insitu_profile(int32_t node);

#ifdef INSITU_PROFILE_DIGITS
void insitu_profile_digits(void);

/* 0 to 15, an instruction each. */
__attribute__((naked, noinline, used)) void insitu_profile_digits(void) {
  __asm__ volatile(".rept 16\n\t"
                   "bx lr\n\t"
                   ".endr");
}

/* The low 16 bits of the node, the lowest digit first; returns from the last digit. */
__attribute__((naked, noinline)) void insitu_profile(__attribute__((unused)) int32_t node) {
  __asm__ volatile("mov r3, lr\n\t"
                   "ldr r2, =insitu_profile_digits\n\t"
                   ".rept 3\n\t"
                   "and r1, r0, #15\n\t"
                   "add r1, r2, r1, lsl #1\n\t"
                   "lsr r0, r0, #4\n\t"
                   "blx r1\n\t"
                   ".endr\n\t"
                   "and r1, r0, #15\n\t"
                   "add r1, r2, r1, lsl #1\n\t"
                   "mov lr, r3\n\t"
                   "bx r1\n\t"
                   ".ltorg");
}
#else
__attribute__((naked, noinline)) void insitu_profile(__attribute__((unused)) int32_t node) {
  __asm__ volatile("bx lr");
}
#endif
