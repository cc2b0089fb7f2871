/* Inner loops over errors in [-127, 127] as they are stored: the portable ones are the definition,
 * cores with the DSP extension take the four bytes of a word at once. */
#ifndef INSITU_ERROR_WORDS_H
#define INSITU_ERROR_WORDS_H

#include "insitu_fixed_point.h"

enum { INSITU_WORD = 4 };     /* rows side by side */
enum { INSITU_SUMMED = 512 }; /* positions whose errors have a sum of 16 bits */

#if defined(__ARM_FEATURE_DSP)
#include "insitu_error_words_dsp.h"
#else
#include "insitu_error_words_portable.h"
#endif

#endif
