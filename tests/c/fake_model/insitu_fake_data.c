#include <stdint.h>

extern const int8_t insitu_fake_first_w[16];

const int8_t insitu_fake_first_w[16] = {3, -1, 4, -1, 5, -9, 2, -6, 5, -3, 5, -8, 9, -7, 9, -3};
