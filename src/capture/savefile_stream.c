/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Savefile bytes as a FILE. Guarantees that plain bytes pass as they are, that
 * zstd frames, one after the other and with skippable ones between, and
 * members of gzip are unpacked with bounded memory, and that an end in the
 * middle of one is not taken for the end of the file. Leaves out other ways of
 * packing, but knows their names.
 */
#include "capture/savefile_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#define SAVEFILE_STREAM_BYTES (128u << 10)
#define MAGIC_BYTES 4
/* A frame may ask for this much memory to be unpacked, as zstd -d allows. */
#define WINDOW_LOG_MAX 27

struct savefile_stream {
	savefile_read read;
	void *ctx;
	enum {
		SAVEFILE_STREAM_PLAIN,
		SAVEFILE_STREAM_ZSTD,
		SAVEFILE_STREAM_GZIP
	} packing;
	ZSTD_DStream *zstd;
	z_stream gzip;
	bool started, ended, failed;
	bool in_frame; /* bytes of a frame, or a member, are missing */
	bool pending;  /* the decoder may hold bytes that had no room */
	const char *broken;
	bool doubtful;
	uint64_t frames;
	bool frame_gave; /* bytes, so that it is counted */
	uint8_t head[SAVEFILE_STREAM_HEAD];
	size_t n_head, head_given;
	struct err error;
	size_t from, to; /* what is in bytes */
	uint8_t bytes[SAVEFILE_STREAM_BYTES];
};

struct savefile_stream *savefile_stream_open(savefile_read read, void *ctx)
{
	struct savefile_stream *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	in->read = read;
	in->ctx = ctx;
	return in;
}

void savefile_stream_close(struct savefile_stream *in)
{
	if (!in)
		return;
	ZSTD_freeDStream(in->zstd);
	if (in->packing == SAVEFILE_STREAM_GZIP)
		inflateEnd(&in->gzip);
	free(in);
}

const struct err *savefile_stream_error(const struct savefile_stream *in)
{
	return in->failed ? &in->error : NULL;
}

const char *savefile_stream_broken(const struct savefile_stream *in)
{
	return in->broken;
}

bool savefile_stream_doubtful(const struct savefile_stream *in)
{
	return in->doubtful;
}

uint64_t savefile_stream_frames(const struct savefile_stream *in)
{
	return in->frames;
}

/* More bytes behind what there is. false at the end and on an error. */
static bool savefile_stream_more(struct savefile_stream *in)
{
	if (in->ended)
		return false;
	if (in->from == in->to)
		in->from = in->to = 0;
	int64_t n = in->read(in->ctx, in->bytes + in->to,
			     SAVEFILE_STREAM_BYTES - in->to, &in->error);
	if (n <= 0) {
		in->ended = true;
		in->failed = n < 0;
		return false;
	}
	in->to += (size_t)n;
	return true;
}

static bool is_zstd(const uint8_t *bytes)
{
	uint32_t magic;

	memcpy(&magic, bytes, sizeof(magic));
	return magic == ZSTD_MAGICNUMBER ||
	       (magic & ZSTD_MAGIC_SKIPPABLE_MASK) ==
		       ZSTD_MAGIC_SKIPPABLE_START;
}

static bool is_gzip(const uint8_t *bytes)
{
	return bytes[0] == 0x1f && bytes[1] == 0x8b && bytes[2] == Z_DEFLATED;
}

const char *savefile_stream_packing(const struct savefile_stream *in)
{
	static const struct {
		const char *magic, *name;
	} known[] = {
		{"\xfd"
		 "7zX",
		 "xz"},
		{"BZh", "bzip2"},
		{"\x04\x22\x4d\x18", "lz4"},
		{"PK\x03\x04", "zip"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (memcmp(in->head, known[i].magic, strlen(known[i].magic)) ==
		    0)
			return known[i].name;
	return NULL;
}

/* What the first bytes of the file say. false: out of memory. */
static bool savefile_stream_start(struct savefile_stream *in)
{
	in->started = true;
	while (in->to < MAGIC_BYTES)
		if (!savefile_stream_more(in))
			return true;
	if (is_zstd(in->bytes)) {
		in->zstd = ZSTD_createDStream();
		if (!in->zstd)
			return false;
		ZSTD_DCtx_setParameter(in->zstd, ZSTD_d_windowLogMax,
				       WINDOW_LOG_MAX);
		in->packing = SAVEFILE_STREAM_ZSTD;
	} else if (is_gzip(in->bytes)) {
		if (inflateInit2(&in->gzip, 16 + MAX_WBITS) != Z_OK)
			return false;
		in->packing = SAVEFILE_STREAM_GZIP;
	}
	return true;
}

static size_t read_plain(struct savefile_stream *in, char *to, size_t n)
{
	if (in->from == in->to && !savefile_stream_more(in))
		return 0;
	if (n > in->to - in->from)
		n = in->to - in->from;
	memcpy(to, in->bytes + in->from, n);
	in->from += n;
	return n;
}

/* The decoder gave n bytes, and the frame goes on or not. */
static void savefile_stream_gave(struct savefile_stream *in, size_t n,
				 bool in_frame)
{
	if (n && !in->frame_gave) {
		in->frames++;
		in->frame_gave = true;
	}
	in->in_frame = in_frame;
	if (!in_frame)
		in->frame_gave = false;
}

static void savefile_stream_break(struct savefile_stream *in, const char *why)
{
	in->broken = why;
	in->doubtful = in->in_frame;
}

static size_t unpack_zstd(struct savefile_stream *in, char *to, size_t n)
{
	ZSTD_outBuffer out = {to, n, 0};
	ZSTD_inBuffer bytes = {in->bytes, in->to, in->from};
	size_t r = ZSTD_decompressStream(in->zstd, &out, &bytes);

	in->from = bytes.pos;
	in->pending = out.pos == out.size;
	if (ZSTD_isError(r))
		savefile_stream_break(in, ZSTD_getErrorName(r));
	else
		savefile_stream_gave(in, out.pos, r != 0);
	return out.pos;
}

static size_t unpack_gzip(struct savefile_stream *in, char *to, size_t n)
{
	z_stream *z = &in->gzip;

	/* Behind a member comes another, or what gzip calls garbage. */
	if (!in->in_frame && in->frames && in->bytes[in->from] != 0x1f) {
		in->broken = "what follows the last member is not gzip's";
		return 0;
	}
	z->next_in = in->bytes + in->from;
	z->avail_in = (unsigned)(in->to - in->from);
	z->next_out = (uint8_t *)to;
	z->avail_out =
		(unsigned)(n < SAVEFILE_STREAM_BYTES ? n
						     : SAVEFILE_STREAM_BYTES);
	unsigned room = z->avail_out;
	int r = inflate(z, Z_NO_FLUSH);

	in->from = in->to - z->avail_in;
	in->pending = z->avail_out == 0;
	size_t got = room - z->avail_out;
	bool good = r == Z_OK || r == Z_BUF_ERROR || r == Z_STREAM_END;
	if (good || got)
		savefile_stream_gave(in, got, r != Z_STREAM_END);
	if (!good)
		savefile_stream_break(in,
				      z->msg ? z->msg : "gzip data is damaged");
	if (r == Z_STREAM_END) {
		in->pending = false;
		inflateReset(z);
	}
	return got;
}

static size_t read_packed(struct savefile_stream *in, char *to, size_t n)
{
	bool zstd = in->packing == SAVEFILE_STREAM_ZSTD;
	size_t got = 0;

	while (got == 0 && !in->broken) {
		if (in->from == in->to && !in->pending &&
		    !savefile_stream_more(in)) {
			if (in->in_frame && !in->failed)
				in->broken = zstd ? "the zstd stream ends in "
						    "the middle of a frame"
						  : "the gzip stream ends in "
						    "the middle of a member";
			break;
		}
		got = zstd ? unpack_zstd(in, to, n) : unpack_gzip(in, to, n);
	}
	return got;
}

static size_t savefile_stream_read(struct savefile_stream *in, char *to,
				   size_t n)
{
	return in->packing == SAVEFILE_STREAM_PLAIN ? read_plain(in, to, n)
						    : read_packed(in, to, n);
}

uint8_t *savefile_stream_head(struct savefile_stream *in)
{
	if (!in->started && !savefile_stream_start(in))
		return NULL;
	while (in->n_head < SAVEFILE_STREAM_HEAD) {
		size_t n =
			savefile_stream_read(in, (char *)in->head + in->n_head,
					     SAVEFILE_STREAM_HEAD - in->n_head);
		if (n == 0)
			return NULL;
		in->n_head += n;
	}
	return in->head;
}

static ssize_t cookie_read(void *cookie, char *to, size_t n)
{
	struct savefile_stream *in = cookie;
	size_t front = in->n_head - in->head_given;
	size_t got;

	if (!in->started && !savefile_stream_start(in)) {
		errno = ENOMEM;
		return -1;
	}
	if (front) {
		got = front < n ? front : n;
		memcpy(to, in->head + in->head_given, got);
		in->head_given += got;
		return (ssize_t)got;
	}
	got = savefile_stream_read(in, to, n);
	/* Its text is never shown: savefile_stream_error has the words. */
	if (got == 0 && in->failed) {
		errno = EIO;
		return -1;
	}
	return (ssize_t)got;
}

FILE *savefile_stream_file(struct savefile_stream *in, struct err *e)
{
	cookie_io_functions_t functions = {.read = cookie_read};
	FILE *file = fopencookie(in, "r", functions);

	if (!file) {
		err_errno(e, "read a savefile");
		return NULL;
	}
	/* Not for libpcap's small reads to become small reads of ours. */
	setvbuf(file, NULL, _IOFBF, SAVEFILE_STREAM_BYTES);
	return file;
}
