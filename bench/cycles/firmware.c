/* What training is made of, for an RP2040 without an SDK: integer dot products, a convolution
 * with its rescaling, copying and clearing, soft-float arithmetic. Starts at the reset vector,
 * ends at BKPT. Nothing waits for anything. */
#include <stddef.h>
#include <stdint.h>

enum { height = 12, width = 12, channels = 8, outputs = 16, features = 128, classes = 10 };

static int8_t x[height * width * channels];
static int8_t w[outputs * 9 * channels];
static int8_t y[(height - 2) * (width - 2) * outputs];
static int8_t v[classes * features];
static int32_t logits[classes];
static float scores[classes];
volatile uint32_t checksum;

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void fill(int8_t *data, int32_t size, uint32_t *state) {
    for (int32_t i = 0; i < size; i++) {
        data[i] = (int8_t)(next_random(state) >> 24);
    }
}

static int8_t rescale(int32_t value, int32_t multiplier, int32_t shift) {
    const int64_t product = (int64_t)value * multiplier + ((int64_t)1 << (shift - 1));
    const int32_t result = (int32_t)(product >> shift);
    return (int8_t)(result < -128 ? -128 : result > 127 ? 127 : result);
}

static void convolve(void) {
    int8_t *out = y;
    for (int32_t row = 0; row < height - 2; row++) {
        for (int32_t column = 0; column < width - 2; column++) {
            for (int32_t o = 0; o < outputs; o++) {
                const int8_t *weights = w + o * 9 * channels;
                int32_t sum = 0;
                for (int32_t k = 0; k < 3; k++) {
                    const int8_t *pixels = x + ((row + k) * width + column) * channels;
                    for (int32_t i = 0; i < 3 * channels; i++) {
                        sum += pixels[i] * *weights++;
                    }
                }
                *out++ = rescale(sum, 1518500250, 38);
            }
        }
    }
}

static void classify(void) {
    for (int32_t o = 0; o < classes; o++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < features; i++) {
            sum += y[i] * v[o * features + i];
        }
        logits[o] = sum;
    }
    float total = 1.0f;
    for (int32_t o = 0; o < classes; o++) {
        const float value = (float)logits[o] * 0.001f;
        scores[o] = value < 0.0f ? 1.0f / (1.0f - value) : 1.0f + value;
        total += scores[o];
    }
    for (int32_t o = 0; o < classes; o++) {
        scores[o] = scores[o] / total;
    }
}

static void update(uint32_t *state) {
    for (int32_t o = 0; o < classes; o++) {
        const int32_t error = (int32_t)(scores[o] * 127.0f) - (o == 3 ? 127 : 0);
        if (error == 0) {
            continue;
        }
        for (int32_t i = 0; i < features; i++) {
            const int32_t noise = (int32_t)(next_random(state) & 0xFFFF);
            const int32_t value = v[o * features + i] - ((error * y[i] + noise) >> 16);
            v[o * features + i] = (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
        }
    }
}

void *memset(void *to, int value, size_t size) {
    uint8_t *bytes = to;
    while (size-- != 0) {
        *bytes++ = (uint8_t)value;
        __asm__ volatile(""); /* or the compiler calls memset here */
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t size) {
    uint8_t *bytes = to;
    const uint8_t *source = from;
    while (size-- != 0) {
        *bytes++ = *source++;
        __asm__ volatile("");
    }
    return to;
}

void start(void);
void start(void) {
    uint32_t state = 2463534242U;
    fill(x, (int32_t)sizeof x, &state);
    fill(w, (int32_t)sizeof w, &state);
    fill(v, (int32_t)sizeof v, &state);
    for (int32_t step = 0; step < 3; step++) {
        convolve();
        classify();
        update(&state);
        memcpy(x, y, sizeof x);
        memset(y, 0, sizeof y);
    }
    uint32_t sum = 0;
    for (int32_t i = 0; i < (int32_t)sizeof v; i++) {
        sum = sum * 31U + (uint8_t)v[i];
    }
    checksum = sum;
    __asm__ volatile("bkpt #0");
    for (;;) {
    }
}

extern uint32_t stack_end;
__attribute__((section(".vectors"), used)) static const void *const vectors[2] = {
    &stack_end, (const void *)start};
