/* The mark that generated code sets before each node when it is built with INSITU_PROFILE_HOOK.
 * The emulator knows it by its address and reads the node from r0; see insitu/run/profile.py. */
#include <stdint.h>

void insitu_profile(int32_t node);

__attribute__((naked, noinline)) void insitu_profile(__attribute__((unused)) int32_t node) {
  __asm__ volatile("bx lr");
}
