/* A model in a program of your own: copy this file beside what `vmcu compile models/mnist_cnn/model.onnx -o mnist` has
 * written, and put your model's name in place of mnist_cnn. Nothing else of vmcu is needed.
 *
 * Host:  cc -O2 -I mnist main.c mnist/mnist_cnn.c
 * Chip:  the same two files in your project; printf is whatever your console has. */
#include <stdio.h>

#include "mnist_cnn.h"

/* Any RAM will do; the report of `vmcu compile` says which is best, and how much stack the model takes. */
static union {
    int32_t aligned; /* to MNIST_CNN_POOL_ALIGN */
    int8_t bytes[MNIST_CNN_POOL_BYTES];
} pool;

/* What your sensor delivers: here an image of zeros. Channels last, quantised as the header says. */
static void fill(int8_t *input)
{
    int32_t i;
    for (i = 0; i < MNIST_CNN_INPUT_ELEMS; i++) {
        input[i] = (int8_t)MNIST_CNN_INPUT_ZERO_POINT; /* real = SCALE * (q - ZERO_POINT) */
    }
}

int main(void)
{
    const int8_t *output;
    int32_t i, best = 0;
    if (mnist_cnn_init(&pool) != MNIST_CNN_OK) {
        return 1; /* the pool is misaligned */
    }
    fill(mnist_cnn_input(&pool)); /* before each run: a run consumes its inputs */
    if (mnist_cnn_run(&pool) != MNIST_CNN_OK) {
        return 1;
    }
    output = mnist_cnn_output(&pool);
    for (i = 0; i < MNIST_CNN_OUTPUT_ELEMS; i++) {
        printf("%ld ", (long)output[i]);
        best = output[i] > output[best] ? i : best;
    }
    printf("\nbest: %ld\n", (long)best);
    return 0;
}
