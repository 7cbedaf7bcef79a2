/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * savefile_stream: a savefile's bytes, unpacked if they are zstd or gzip.
 *
 * What: wraps a savefile_read into a FILE that libpcap can read, and keeps why
 * the bytes ended.
 * Threads: one at a time.
 * Ownership: savefile_stream_open gives; libpcap or the caller closes the FILE
 * first, then savefile_stream_close.
 */
#ifndef PCAPD_CAPTURE_SAVEFILE_STREAM_H
#define PCAPD_CAPTURE_SAVEFILE_STREAM_H

#include "capture/capture.h"

#include <stdio.h>

struct savefile_stream;

/* NULL: out of memory. */
struct savefile_stream *savefile_stream_open(savefile_read read, void *ctx);
void savefile_stream_close(struct savefile_stream *in); /* NULL is fine */

FILE *savefile_stream_file(struct savefile_stream *in, struct err *e);

/* The first SAVEFILE_STREAM_HEAD bytes of the file, unpacked, which the FILE
 * gives next, and may be changed before it does. NULL: there are not so many.
 */
#define SAVEFILE_STREAM_HEAD 24
uint8_t *savefile_stream_head(struct savefile_stream *in);
/* "xz": the bytes are packed in a way that is not read here; or NULL. */
const char *savefile_stream_packing(const struct savefile_stream *in);

/* The reader's own error, or NULL. */
const struct err *savefile_stream_error(const struct savefile_stream *in);
/* What is wrong with the packed stream as far as it was read, or NULL. */
const char *savefile_stream_broken(const struct savefile_stream *in);
/* A checksum is wrong, or bytes that no packer writes: what came of the frame
 * (of the member, in gzip) that broke may have been altered. */
bool savefile_stream_doubtful(const struct savefile_stream *in);
/* How many frames have given bytes to the FILE. A read of it never has bytes of
 * two. */
uint64_t savefile_stream_frames(const struct savefile_stream *in);

#endif
