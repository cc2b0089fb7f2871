/* Where there is no FPU, an operator between floats is a call of the compiler's library. That
 * library is not always IEEE 754: a Raspberry Pi Pico's, in ROM, takes subnormal numbers for zero.
 * So here the assembler is told another name for each of these calls: every file that includes this
 * header calls insitu's own, and its C stays a + b. */
#ifndef INSITU_NO_FPU_H
#define INSITU_NO_FPU_H

#if defined(__GNUC__) && defined(__ARM_EABI__) && !defined(__ARM_FP)

/* Names: Arm, "Run-time ABI for the Arm Architecture" (RTABI32), 4.1.2. */
__asm__(".set __aeabi_fadd, insitu_add_soft\n\t"
        ".set __aeabi_fsub, insitu_subtract_soft\n\t"
        ".set __aeabi_fmul, insitu_multiply_soft\n\t"
        ".set __aeabi_fdiv, insitu_divide_soft\n\t"
        ".set __aeabi_fcmpeq, insitu_equal_soft\n\t"
        ".set __aeabi_fcmplt, insitu_less_soft\n\t"
        ".set __aeabi_fcmple, insitu_at_most_soft\n\t"
        ".set __aeabi_fcmpgt, insitu_greater_soft\n\t"
        ".set __aeabi_fcmpge, insitu_at_least_soft\n\t"
        ".set __aeabi_fcmpun, insitu_unordered_soft\n\t"
        ".set __aeabi_i2f, insitu_float_of_int_soft\n\t"
        ".set __aeabi_ui2f, insitu_float_of_unsigned_soft\n\t"
        ".set __aeabi_l2f, insitu_float_of_long_soft\n\t"
        ".set __aeabi_f2iz, insitu_int_of_float_soft\n\t"
        ".set __aeabi_f2uiz, insitu_unsigned_of_float_soft");

/* GCC's link-time optimisation shows the assembler these lines for a part of the program only, and
 * drops what C does not mention: then this reference, which is no code, stops the link. */
#define INSITU_REFUSE_LTO __asm__ volatile(".reloc ., R_ARM_NONE, insitu_compile_with_fno_lto")

#else
#define INSITU_REFUSE_LTO ((void)0)
#endif

#endif
