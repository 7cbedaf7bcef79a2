/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * savefile_writer: a file descriptor that takes a savefile, plain or as zstd
 * frames.
 *
 * What: savefile bytes go in and are written, compressed if it is packed;
 * frames that are compressed already go in as they are. Whatever was put can be
 * read from the file when the call returns, also of a frame that goes on.
 * Threads: one at a time.
 * Errors: an errno, 0 for none.
 */
#ifndef PCAPD_CLI_SAVEFILE_WRITER_H
#define PCAPD_CLI_SAVEFILE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct savefile_writer {
	int fd;
	bool packed;
	/* Its own. */
	struct ZSTD_CCtx_s *zstd;
	bool in_frame;
	uint8_t *room;
};

/* false: out of memory. */
bool savefile_writer_init(struct savefile_writer *o, int fd, bool packed);
/* Savefile bytes; the pieces are changed. */
int savefile_writer_bytes(struct savefile_writer *o, struct iovec *pieces,
			  size_t n);
/* A whole zstd frame of savefile bytes, into one that is packed. */
int savefile_writer_frame(struct savefile_writer *o, struct iovec *pieces,
			  size_t n);
/* Nothing more comes. */
int savefile_writer_end(struct savefile_writer *o);
void savefile_writer_done(struct savefile_writer *o);

#endif
