/*
 * out: a file descriptor that takes a savefile, plain or as zstd frames.
 *
 * What: savefile bytes go in and are written, compressed if it is packed;
 * frames that are compressed already go in as they are. Whatever was put can be
 * read from the file when the call returns, also of a frame that goes on.
 * Threads: one at a time.
 * Errors: an errno, 0 for none.
 */
#ifndef PCAPD_CLI_OUT_H
#define PCAPD_CLI_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct out {
	int fd;
	bool packed;
	/* Its own. */
	struct ZSTD_CCtx_s *zstd;
	bool in_frame;
	uint8_t *room;
};

/* false: out of memory. */
bool out_init(struct out *o, int fd, bool packed);
/* Savefile bytes; the pieces are changed. */
int out_bytes(struct out *o, struct iovec *pieces, size_t n);
/* A whole zstd frame of savefile bytes, into one that is packed. */
int out_frame(struct out *o, struct iovec *pieces, size_t n);
/* Nothing more comes. */
int out_end(struct out *o);
void out_done(struct out *o);

#endif
