/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Savefiles into file descriptors. Guarantees that a packed one is zstd frames
 * one after the other, which decode to the savefile. Leaves out who owns the
 * descriptor.
 */
#include "cli/savefile_writer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

/* All of the pieces, which are changed. 0 or an errno. */
static int write_pieces(int fd, struct iovec *v, size_t n)
{
	while (n) {
		ssize_t wrote = writev(fd, v, n < IOV_MAX ? (int)n : IOV_MAX);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0 && errno == EAGAIN) {
			/* Whoever gave us the file made it so. */
			struct pollfd p = {.fd = fd, .events = POLLOUT};
			poll(&p, 1, -1);
			continue;
		}
		if (wrote < 0)
			return errno;
		size_t left = (size_t)wrote;
		while (n && left >= v->iov_len) {
			left -= v->iov_len;
			v++;
			n--;
		}
		if (n) {
			v->iov_base = (char *)v->iov_base + left;
			v->iov_len -= left;
		}
	}
	return 0;
}

bool savefile_writer_init(struct savefile_writer *o, int fd, bool packed)
{
	*o = (struct savefile_writer){.fd = fd, .packed = packed};
	if (!packed)
		return true;
	o->zstd = ZSTD_createCCtx();
	o->room = malloc(ZSTD_CStreamOutSize());
	if (o->zstd && o->room) {
		ZSTD_CCtx_setParameter(o->zstd, ZSTD_c_checksumFlag, 1);
		return true;
	}
	savefile_writer_done(o);
	return false;
}

static int savefile_writer_pack(struct savefile_writer *o,
				const struct iovec *v, ZSTD_EndDirective how)
{
	ZSTD_inBuffer in = {v->iov_base, v->iov_len, 0};
	size_t left;

	do {
		ZSTD_outBuffer to = {o->room, ZSTD_CStreamOutSize(), 0};

		left = ZSTD_compressStream2(o->zstd, &to, &in, how);
		if (ZSTD_isError(left))
			return ENOMEM;
		struct iovec w = {o->room, to.pos};
		int error = write_pieces(o->fd, &w, 1);
		if (error)
			return error;
	} while (left || in.pos < in.size);
	o->in_frame = how != ZSTD_e_end;
	return 0;
}

int savefile_writer_bytes(struct savefile_writer *o, struct iovec *pieces,
			  size_t n)
{
	int error = 0;

	if (!o->packed)
		return write_pieces(o->fd, pieces, n);
	for (size_t i = 0; i < n && !error; i++)
		error = savefile_writer_pack(o, &pieces[i], ZSTD_e_flush);
	return error;
}

int savefile_writer_frame(struct savefile_writer *o, struct iovec *pieces,
			  size_t n)
{
	int error = savefile_writer_end(o);

	return error ? error : write_pieces(o->fd, pieces, n);
}

int savefile_writer_end(struct savefile_writer *o)
{
	struct iovec nothing = {NULL, 0};

	return o->in_frame ? savefile_writer_pack(o, &nothing, ZSTD_e_end) : 0;
}

void savefile_writer_done(struct savefile_writer *o)
{
	ZSTD_freeCCtx(o->zstd);
	free(o->room);
	o->zstd = NULL;
	o->room = NULL;
}
