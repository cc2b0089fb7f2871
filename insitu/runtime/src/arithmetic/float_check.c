/* Are floats on this core, with its flags as they are now, those that docs/arithmetic.md means? */
#include "insitu_fixed_point.h"

/* Missing where link-time optimisation came between; see insitu_no_fpu.h. */
extern const uint8_t insitu_compile_with_fno_lto;
const uint8_t insitu_compile_with_fno_lto = 0;

int32_t insitu_floats_are_ieee(void) {
  /* volatile: the core is asked, not the compiler */
  volatile float least = 1.17549435e-38f, half = 0.5f, one = 1.0f, quarter = 2.98023224e-8f;
  INSITU_REFUSE_LTO;
  const float subnormal = least * half;                   /* 2^-127; 0 where results are flushed */
  const float more = one + (quarter + quarter + quarter); /* quarter: of the last bit of 1 */
  return subnormal + subnormal == least && one + quarter == one && more > one;
}
