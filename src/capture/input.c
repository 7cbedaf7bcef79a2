/*
 * Savefile bytes as a FILE. Guarantees that plain bytes pass as they are, that
 * zstd frames, one after the other and with skippable ones between, are
 * unpacked with bounded memory, and that an end in the middle of a frame is
 * not taken for the end of the file. Leaves out other ways of packing.
 */
#include "input.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#define INPUT_BYTES (128u << 10)
#define MAGIC_BYTES 4
/* A frame may ask for this much memory to be unpacked, as zstd -d allows. */
#define WINDOW_LOG_MAX 27

struct input {
	savefile_read read;
	void *ctx;
	ZSTD_DStream *zstd; /* NULL: plain */
	bool started, ended, failed;
	bool in_frame; /* bytes of a frame are missing */
	bool pending;  /* the decoder may hold bytes that had no room */
	const char *broken;
	struct err error;
	size_t from, to; /* what is in bytes */
	uint8_t bytes[INPUT_BYTES];
};

struct input *input_open(savefile_read read, void *ctx)
{
	struct input *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	in->read = read;
	in->ctx = ctx;
	return in;
}

void input_close(struct input *in)
{
	if (!in)
		return;
	ZSTD_freeDStream(in->zstd);
	free(in);
}

const struct err *input_error(const struct input *in)
{
	return in->failed ? &in->error : NULL;
}

const char *input_broken(const struct input *in)
{
	return in->broken;
}

/* More bytes behind what there is. false at the end and on an error. */
static bool more(struct input *in)
{
	if (in->ended)
		return false;
	if (in->from == in->to)
		in->from = in->to = 0;
	int64_t n = in->read(in->ctx, in->bytes + in->to, INPUT_BYTES - in->to,
			     &in->error);
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

/* false: out of memory. */
static bool start(struct input *in)
{
	in->started = true;
	while (in->to < MAGIC_BYTES)
		if (!more(in))
			return true;
	if (!is_zstd(in->bytes))
		return true;
	in->zstd = ZSTD_createDStream();
	if (!in->zstd)
		return false;
	ZSTD_DCtx_setParameter(in->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
	return true;
}

static size_t read_plain(struct input *in, char *to, size_t n)
{
	if (in->from == in->to && !more(in))
		return 0;
	if (n > in->to - in->from)
		n = in->to - in->from;
	memcpy(to, in->bytes + in->from, n);
	in->from += n;
	return n;
}

static size_t read_zstd(struct input *in, char *to, size_t n)
{
	ZSTD_outBuffer out = {to, n, 0};

	while (out.pos == 0 && !in->broken) {
		if (in->from == in->to && !in->pending && !more(in)) {
			if (in->in_frame && !in->failed)
				in->broken = "the zstd stream ends in the "
					     "middle of a frame";
			break;
		}
		ZSTD_inBuffer bytes = {in->bytes, in->to, in->from};
		size_t r = ZSTD_decompressStream(in->zstd, &out, &bytes);
		in->from = bytes.pos;
		in->pending = out.pos == out.size;
		if (ZSTD_isError(r))
			in->broken = ZSTD_getErrorName(r);
		else
			in->in_frame = r != 0;
	}
	return out.pos;
}

static ssize_t cookie_read(void *cookie, char *to, size_t n)
{
	struct input *in = cookie;
	size_t got;

	if (!in->started && !start(in)) {
		errno = ENOMEM;
		return -1;
	}
	got = in->zstd ? read_zstd(in, to, n) : read_plain(in, to, n);
	/* Its text is never shown: input_error has the words. */
	if (got == 0 && in->failed) {
		errno = EIO;
		return -1;
	}
	return (ssize_t)got;
}

FILE *input_file(struct input *in, struct err *e)
{
	cookie_io_functions_t functions = {.read = cookie_read};
	FILE *file = fopencookie(in, "r", functions);

	if (!file) {
		err_errno(e, "read a savefile");
		return NULL;
	}
	/* Not for libpcap's small reads to become small reads of ours. */
	setvbuf(file, NULL, _IOFBF, INPUT_BYTES);
	return file;
}
