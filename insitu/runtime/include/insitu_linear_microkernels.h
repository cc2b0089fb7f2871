/* Inner loops of linear layers: the portable ones are the definition, a core may have its own.
 * All offer the same functions and INSITU_LINEAR_ constants. */
#ifndef INSITU_LINEAR_MICROKERNELS_H
#define INSITU_LINEAR_MICROKERNELS_H

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__)
#include "insitu_linear_microkernels_dsp.h"
#else
#include "insitu_linear_microkernels_portable.h"
#endif

#endif
