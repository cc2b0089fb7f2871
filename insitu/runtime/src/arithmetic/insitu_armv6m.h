/* Assembly for ARMv6-M: save and restore r8 to r11, unpack words of three sums. */
#ifndef INSITU_ARMV6M_H
#define INSITU_ARMV6M_H

#include "insitu_naked.h"

/* Behind "push {r4, r5, r6, r7, lr}". */
#define INSITU_SAVE_HIGH                                                                           \
  "mov r4, r8\n\t"                                                                                 \
  "mov r5, r9\n\t"                                                                                 \
  "mov r6, r10\n\t"                                                                                \
  "mov r7, r11\n\t"                                                                                \
  "push {r4, r5, r6, r7}\n\t"
#define INSITU_RESTORE_HIGH                                                                        \
  "pop {r4, r5, r6, r7}\n\t"                                                                       \
  "mov r8, r4\n\t"                                                                                 \
  "mov r9, r5\n\t"                                                                                 \
  "mov r10, r6\n\t"                                                                                \
  "mov r11, r7\n\t"

#define INSITU_LOW_SUM(TO, FROM)                                                                   \
  "lsls " TO ", " FROM ", #8\n\t"                                                                  \
  "asrs " TO ", " TO ", #8\n\t"                                                                    \
  "subs " FROM ", " FROM ", " TO "\n\t"
/* Words' sums r4, r5, r6 -> r0, r1, r2, r6; r4 and r5 hold bytes of the last. 18 instructions. */
#define INSITU_UNPACK                                                                              \
  INSITU_LOW_SUM("r0", "r4")                                                                       \
  "lsrs r4, r4, #8\n\t"                                                                            \
  "subs r5, r5, r4\n\t" INSITU_LOW_SUM("r1", "r5") "lsrs r4, r4, #8\n\t"                           \
                                                   "lsrs r5, r5, #8\n\t"                           \
                                                   "adds r4, r4, r5\n\t"                           \
                                                   "subs r6, r6, r4\n\t" INSITU_LOW_SUM(           \
                                                       "r2", "r6") "lsrs r4, r4, #8\n\t"           \
                                                                   "asrs r6, r6, #8\n\t"           \
                                                                   "adds r6, r6, r4\n\t"

#endif
