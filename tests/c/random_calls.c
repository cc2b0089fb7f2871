/* bench/fuzz_c.c without libFuzzer: random bytes from a seed, so many times. */
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int count, char **argument) {
  uint8_t data[192];
  uint32_t random = 1;
  const int turns = count > 1 ? atoi(argument[1]) : 1;
  for (int turn = 0; turn < turns; turn++) {
    for (size_t i = 0; i < sizeof data; i++) {
      random = random * 1664525u + 1013904223u;
      data[i] = (uint8_t)(random >> 24);
    }
    (void)LLVMFuzzerTestOneInput(data, sizeof data);
  }
  return 0;
}
