/* Depthwise convolution with more channels side by side: bit for bit what src/conv/conv_grouped.c
 * computes, which is the definition. */
#define INSITU_LANES 16
#include <conv_grouped.c> /* the portable source in the model's folder */
