/*
 * input: a savefile's bytes, unpacked if they are zstd.
 *
 * What: wraps a savefile_read into a FILE that libpcap can read, and keeps why
 * the bytes ended.
 * Threads: one at a time.
 * Ownership: input_open gives; libpcap or the caller closes the FILE first,
 * then input_close.
 */
#ifndef PCAPD_INPUT_H
#define PCAPD_INPUT_H

#include "capture.h"

#include <stdio.h>

struct input;

/* NULL: out of memory. */
struct input *input_open(savefile_read read, void *ctx);
void input_close(struct input *in); /* NULL is fine */

FILE *input_file(struct input *in, struct err *e);

/* The reader's own error, or NULL. */
const struct err *input_error(const struct input *in);
/* What is wrong with the zstd stream as far as it was read, or NULL. */
const char *input_broken(const struct input *in);

#endif
