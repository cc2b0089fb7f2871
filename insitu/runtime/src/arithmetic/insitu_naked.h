/* Functions that are assembly from the first to the last instruction: without prologue, the same at
 * every optimisation level, called as they stand. Compilers do not see that the assembly uses the
 * parameters, hence no warning of unused ones. */
#ifndef INSITU_NAKED_H
#define INSITU_NAKED_H

#if defined(__clang__)
#define INSITU_NAKED __attribute__((naked, noinline, unused))
#define INSITU_NAKED_BEGIN                                                                         \
  _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Wunused-parameter\"")
#define INSITU_NAKED_END _Pragma("clang diagnostic pop")
#else
#define INSITU_NAKED __attribute__((naked, noipa, unused))
#define INSITU_NAKED_BEGIN                                                                         \
  _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wunused-parameter\"")          \
      _Pragma("GCC diagnostic ignored \"-Wreturn-type\"")
#define INSITU_NAKED_END _Pragma("GCC diagnostic pop")
#endif

#endif
