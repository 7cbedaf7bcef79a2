/*
 * input: a savefile's bytes, unpacked if they are zstd or gzip.
 *
 * What: wraps a savefile_read into a FILE that libpcap can read, and keeps why
 * the bytes ended.
 * Threads: one at a time.
 * Ownership: input_open gives; libpcap or the caller closes the FILE first,
 * then input_close.
 */
#ifndef PCAPD_INPUT_H
#define PCAPD_INPUT_H

#include "capture/capture.h"

#include <stdio.h>

struct input;

/* NULL: out of memory. */
struct input *input_open(savefile_read read, void *ctx);
void input_close(struct input *in); /* NULL is fine */

FILE *input_file(struct input *in, struct err *e);

/* The first INPUT_HEAD bytes of the file, unpacked, which the FILE gives next,
 * and may be changed before it does. NULL: there are not so many. */
#define INPUT_HEAD 24
uint8_t *input_head(struct input *in);
/* "xz": the bytes are packed in a way that is not read here; or NULL. */
const char *input_packing(const struct input *in);

/* The reader's own error, or NULL. */
const struct err *input_error(const struct input *in);
/* What is wrong with the packed stream as far as it was read, or NULL. */
const char *input_broken(const struct input *in);
/* A checksum is wrong, or bytes that no packer writes: what came of the frame
 * (of the member, in gzip) that broke may have been altered. */
bool input_doubtful(const struct input *in);
/* How many frames have given bytes to the FILE. A read of it never has bytes of
 * two. */
uint64_t input_frames(const struct input *in);

#endif
