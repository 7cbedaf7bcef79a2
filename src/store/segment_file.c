/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Segment files. Guarantees that what segment_add was told lies in front of
 * `end` and is never written again, so that a reader may have it. Leaves out
 * compression of blocks (writer.c) and the catalog.
 */
#include "store/segment_file.h"
#include "packet/capture_tail.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

/* Less than this is kept in the page cache, where it is written on. */
#define DIRECT_MIN (128u << 10)
/* Reserving is a commit of the file system's: not for each block. */
#define RESERVE_STEP (1u << 20)
/* Not taken from the disk's last bytes, which the catalog needs. */
#define SPARE_BYTES (1u << 20)

void segment_name(char out[SEGMENT_NAME_BYTES], uint64_t capture,
		  uint64_t first_seq)
{
	snprintf(out, SEGMENT_NAME_BYTES,
		 "%" PRIu64 "/%020" PRIu64 SEGMENT_SUFFIX, capture, first_seq);
}

bool segment_parse_name(const char *name, uint64_t *first_seq)
{
	char *end;

	if (strlen(name) != 20 + strlen(SEGMENT_SUFFIX) ||
	    strspn(name, "0123456789") != 20)
		return false;
	*first_seq = strtoull(name, &end, 10);
	return strcmp(end, SEGMENT_SUFFIX) == 0 && *first_seq > 0;
}

static struct segment *segment_new(uint64_t capture, uint64_t first_seq,
				   struct err *e)
{
	struct segment *g = calloc(1, sizeof(*g));

	if (!g) {
		err_no_memory(e, "segment");
		return NULL;
	}
	g->fd = g->direct_fd = -1;
	g->capture = capture;
	g->first_seq = first_seq;
	g->opened_ns = monotonic_ns();
	return g;
}

static bool write_at(struct segment *g, int fd, uint64_t at,
		     const uint8_t *from, size_t n, struct err *e)
{
	while (n > 0) {
		ssize_t done = pwrite(fd, from, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			g->error = errno;
			return err_errno(e, "write segment %" PRIu64,
					 g->first_seq);
		}
		from += done;
		at += (uint64_t)done;
		n -= (size_t)done;
	}
	return true;
}

/*
 * The whole pages at the beginning of n bytes, around the page cache: copying
 * into fresh pages of it costs more than compressing does. Returns how many
 * bytes are written; 0 asks for the other way.
 */
static size_t write_directly(struct segment *g, uint64_t at,
			     const uint8_t *from, size_t n)
{
	int64_t begun = monotonic_ns();
	ssize_t done =
		pwrite(g->direct_fd, from, n - n % SEGMENT_ALIGN, (off_t)at);

	g->direct_ns = monotonic_ns() - begun;
	if (done > 0)
		return (size_t)done / SEGMENT_ALIGN * SEGMENT_ALIGN;
	/* A file system that allowed the open may still refuse. What else is
	 * wrong the plain write will find and tell. */
	if (errno == EINVAL) {
		close(g->direct_fd);
		g->direct_fd = -1;
	}
	return 0;
}

/* The ends go through the page cache: no page is in both, so that neither
 * waits for the other. In order, so that a reader sees the file grow. */
bool segment_write(struct segment *g, uint64_t at, const void *bytes, size_t n,
		   struct err *e)
{
	const uint8_t *from = bytes;
	size_t rest = at % SEGMENT_ALIGN, done = 0;

	if (g->direct_fd >= 0 && !g->cached && n >= DIRECT_MIN &&
	    (uintptr_t)from % SEGMENT_ALIGN == rest) {
		done = rest ? SEGMENT_ALIGN - rest : 0;
		if (!write_at(g, g->fd, at, from, done, e))
			return false;
		done += write_directly(g, at + done, from + done, n - done);
	}
	return write_at(g, g->fd, at + done, from + done, n - done, e);
}

static bool segment_allocate(struct segment *g, uint64_t end)
{
	uint64_t n = end - g->reserved;
	struct statvfs fs;
	int rc;

	errno = ENOSPC;
	if (fstatvfs(g->fd, &fs) == 0 && fs.f_blocks &&
	    (uint64_t)fs.f_bavail * fs.f_frsize < n + SPARE_BYTES)
		return false;
	do
		rc = fallocate(g->fd, FALLOC_FL_KEEP_SIZE, (off_t)g->reserved,
			       (off_t)n);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		g->reserved = end;
	return rc == 0;
}

bool segment_reserve(struct segment *g, uint64_t end, struct err *e)
{
	if (end <= g->reserved || segment_allocate(g, end + RESERVE_STEP) ||
	    segment_allocate(g, end))
		return true;
	if (errno != ENOSPC && errno != EDQUOT) {
		/* It cannot, or is in trouble, as the next write will tell. */
		g->reserved = UINT64_MAX;
		return true;
	}
	g->error = errno;
	return err_errno(e, "reserve room for a segment of capture %" PRIu64,
			 g->capture);
}

void segment_unreserve(struct segment *g)
{
	struct stat st;

	if (fstat(g->fd, &st) == 0 && ftruncate(g->fd, st.st_size) == 0)
		g->reserved = (uint64_t)st.st_size;
}

size_t segment_read(int fd, uint64_t at, void *to, size_t n)
{
	size_t have = 0;

	while (have < n) {
		errno = 0;
		ssize_t got = pread(fd, (char *)to + have, n - have,
				    (off_t)(at + have));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		have += (size_t)got;
	}
	return have;
}

struct segment_tail segment_read_tail(int fd)
{
	const struct segment_tail none = {0};
	uint8_t end[SEGMENT_TAIL_BYTES];
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(end) ||
	    segment_read(fd, (uint64_t)st.st_size - sizeof(end), end,
			 sizeof(end)) < sizeof(end))
		return none;
	return segment_tail_decode(end, (uint64_t)st.st_size);
}

/* Bytes of frame 0 in *frame; 0: memory is out. */
static size_t head_frame(const struct segment *g,
			 uint8_t frame[ZSTD_COMPRESSBOUND(SAVEFILE_HEAD_BYTES)])
{
	uint8_t head[SAVEFILE_HEAD_BYTES];

	savefile_head(head, g->link_type, g->snaplen);
	size_t n = ZSTD_compress(frame, ZSTD_COMPRESSBOUND(sizeof(head)), head,
				 sizeof(head), 1);
	return ZSTD_isError(n) ? 0 : n;
}

static bool write_head(struct segment *g, struct err *e)
{
	uint8_t frame[ZSTD_COMPRESSBOUND(SAVEFILE_HEAD_BYTES)];
	size_t n = head_frame(g, frame);

	if (!n)
		return err_no_memory(e, "segment");
	g->head_bytes = g->end = n;
	return segment_write(g, 0, frame, n, e);
}

/* A file without a block is one whose making failed, and whose removal did
 * too. -1 and EEXIST: there may be more in it. */
static int open_empty(int spool_fd, const char *name, const struct segment *g)
{
	uint8_t frame[ZSTD_COMPRESSBOUND(SAVEFILE_HEAD_BYTES)];
	struct stat st;
	int fd = openat(spool_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (size_t)st.st_size <= head_frame(g, frame))
		return fd;
	if (fd >= 0)
		close(fd);
	errno = EEXIST;
	return -1;
}

struct segment *segment_create_as(int spool_fd, const char *name,
				  uint64_t capture, uint64_t first_seq,
				  uint32_t link_type, uint32_t snaplen,
				  struct err *e)
{
	struct segment *g = segment_new(capture, first_seq, e);

	if (!g)
		return NULL;
	g->link_type = link_type;
	g->snaplen = snaplen;
	g->fd = openat(spool_fd, name,
		       O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		       0640);
	if (g->fd < 0 && errno == EEXIST)
		g->fd = open_empty(spool_fd, name, g);
	if (g->fd < 0) {
		err_errno(e, "make segment %s", name);
	} else if (write_head(g, e)) {
		return g;
	} else {
		unlinkat(spool_fd, name, 0);
	}
	int error = g->fd < 0 ? errno : g->error;
	segment_free(g);
	errno = error;
	return NULL;
}

static void segment_next_name(char out[SEGMENT_NAME_BYTES], uint64_t capture)
{
	snprintf(out, SEGMENT_NAME_BYTES, "%" PRIu64 "/" SEGMENT_NEXT, capture);
}

struct segment *segment_prepare(int spool_fd, uint64_t capture, struct err *e)
{
	struct segment *g = segment_new(capture, 0, e);
	char name[SEGMENT_NAME_BYTES], dir[24];

	if (!g) {
		errno = ENOMEM;
		return NULL;
	}
	snprintf(dir, sizeof(dir), "%" PRIu64, capture);
	segment_next_name(name, capture);
	if (mkdirat(spool_fd, dir, 0750) < 0 && errno != EEXIST)
		err_errno(e, "make folder %s in the spool", dir);
	else if ((g->fd = openat(spool_fd, name,
				 O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC |
					 O_NOFOLLOW,
				 0640)) < 0)
		err_errno(e, "make segment %s", name);
	else
		return g;
	int error = errno;
	segment_free(g);
	errno = error;
	return NULL;
}

void segment_forget_next(int spool_fd, uint64_t capture)
{
	char name[SEGMENT_NAME_BYTES];

	segment_next_name(name, capture);
	unlinkat(spool_fd, name, 0);
}

/* Nothing is overwritten that may have a block in it. */
static bool segment_rename(struct segment *g, int spool_fd, const char *name)
{
	char next[SEGMENT_NAME_BYTES];

	segment_next_name(next, g->capture);
	if (renameat2(spool_fd, next, spool_fd, name, RENAME_NOREPLACE) == 0)
		return true;
	if (errno == EEXIST) {
		int fd = open_empty(spool_fd, name, g);

		if (fd < 0)
			return false;
		close(fd);
	} else if (errno != EINVAL ||
		   faccessat(spool_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		return false;
	}
	return renameat(spool_fd, next, spool_fd, name) == 0;
}

bool segment_begin(struct segment *g, int spool_fd, uint64_t first_seq,
		   uint32_t link_type, uint32_t snaplen, struct err *e)
{
	char name[SEGMENT_NAME_BYTES];

	g->first_seq = first_seq;
	g->link_type = link_type;
	g->snaplen = snaplen;
	g->opened_ns = monotonic_ns();
	segment_name(name, g->capture, first_seq);
	if (!segment_rename(g, spool_fd, name)) {
		g->error = errno;
		return err_errno(e, "make segment %s", name);
	}
	if (!write_head(g, e)) {
		unlinkat(spool_fd, name, 0);
		return false;
	}
	/* Not every file system can. */
	g->direct_fd = openat(spool_fd, name,
			      O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECT);
	return true;
}

struct segment *segment_create(int spool_fd, uint64_t capture,
			       uint64_t first_seq, uint32_t link_type,
			       uint32_t snaplen, struct err *e)
{
	struct segment *g = segment_prepare(spool_fd, capture, e);

	if (!g || segment_begin(g, spool_fd, first_seq, link_type, snaplen, e))
		return g;
	segment_free(g);
	return NULL;
}

/* Only files have anything to read; a pipe is not waited for. */
static int segment_file_open_file(int spool_fd, const char *name, int flags)
{
	struct stat st;
	int fd = openat(spool_fd, name,
			flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0 && (errno == ELOOP || errno == EISDIR || errno == ENXIO))
		errno = ESPIPE;
	if (fd < 0 || fstat(fd, &st) < 0 || S_ISREG(st.st_mode))
		return fd;
	close(fd);
	errno = ESPIPE;
	return -1;
}

struct segment *segment_rescue(int spool_fd, uint64_t capture,
			       uint64_t first_seq, uint32_t link_type,
			       uint32_t snaplen, struct err *e)
{
	uint8_t frame[ZSTD_COMPRESSBOUND(SAVEFILE_HEAD_BYTES)], next[4];
	struct segment *g = segment_new(capture, first_seq, e);
	char name[SEGMENT_NAME_BYTES];

	if (!g)
		return NULL;
	segment_name(name, capture, first_seq);
	g->link_type = link_type;
	g->snaplen = snaplen;
	g->fd = segment_file_open_file(spool_fd, name, O_RDWR);
	size_t n = head_frame(g, frame);
	errno = 0;
	if (g->fd < 0) {
		err_errno(e, "open segment %s", name);
	} else if (n && segment_read(g->fd, n, next, 4) == 4 &&
		   memcmp(next, frame, 4) == 0) {
		if (write_head(g, e))
			return g;
	} else if (errno) {
		err_errno(e, "read segment %" PRIu64, first_seq);
	} else {
		err_set(e, ERR_FAILED,
			"it does not begin as a segment of ours");
	}
	int why = errno;
	segment_free(g);
	errno = why;
	return NULL;
}

/* Frame 0 tells link type and snaplen; it must be one that we wrote. errno: 0
 * when it is not. */
static bool read_head(struct segment *g, struct err *e)
{
	uint8_t frame[ZSTD_COMPRESSBOUND(SAVEFILE_HEAD_BYTES)];
	uint8_t head[SAVEFILE_HEAD_BYTES], ours[SAVEFILE_HEAD_BYTES];
	size_t got = segment_read(g->fd, 0, frame, sizeof(frame));

	if (got < sizeof(frame) && errno)
		return err_errno(e, "read segment %" PRIu64, g->first_seq);
	size_t n = ZSTD_findFrameCompressedSize(frame, got);
	size_t raw = ZSTD_isError(n)
			     ? n
			     : ZSTD_decompress(head, sizeof(head), frame, n);
	errno = 0;
	if (ZSTD_getErrorCode(raw) == ZSTD_error_memory_allocation) {
		errno = ENOMEM;
		return err_no_memory(e, "segment");
	}
	if (raw != sizeof(head))
		return err_set(e, ERR_FAILED,
			       "segment %" PRIu64 " does not begin with a "
			       "savefile header",
			       g->first_seq);
	memcpy(&g->snaplen, head + 16, 4);
	memcpy(&g->link_type, head + 20, 4);
	savefile_head(ours, g->link_type, g->snaplen);
	if (memcmp(head, ours, sizeof(head)) != 0)
		return err_set(e, ERR_FAILED,
			       "segment %" PRIu64 " begins with a savefile "
			       "header that pcapd did not write",
			       g->first_seq);
	g->head_bytes = g->end = n;
	return true;
}

static struct segment *segment_open(int spool_fd, int flags, uint64_t capture,
				    uint64_t first_seq, struct err *e)
{
	struct segment *g = segment_new(capture, first_seq, e);
	char name[SEGMENT_NAME_BYTES];

	if (!g) {
		errno = ENOMEM;
		return NULL;
	}
	segment_name(name, capture, first_seq);
	g->fd = segment_file_open_file(spool_fd, name, flags);
	if (g->fd < 0 && errno == ESPIPE) {
		err_set(e, ERR_FAILED, "it is no file");
		errno = 0;
	} else if (g->fd < 0) {
		err_errno(e, "open segment %s", name);
	} else if (read_head(g, e)) {
		return g;
	}
	int why = errno;
	segment_free(g);
	errno = why;
	return NULL;
}

struct segment *segment_resume(int spool_fd, uint64_t capture,
			       uint64_t first_seq, struct err *e)
{
	return segment_open(spool_fd, O_RDWR, capture, first_seq, e);
}

struct segment *segment_look(int spool_fd, uint64_t capture, uint64_t first_seq,
			     struct err *e)
{
	return segment_open(spool_fd, O_RDONLY, capture, first_seq, e);
}

bool segment_add(struct segment *g, struct block_info *info, struct err *e)
{
	if (g->n_blocks == g->cap_blocks) {
		uint32_t cap = g->cap_blocks ? 2 * g->cap_blocks : 64;
		void *more = realloc(g->blocks, cap * sizeof(*g->blocks));

		if (!more)
			return err_no_memory(e, "segment");
		g->blocks = more;
		g->cap_blocks = cap;
	}
	info->segment = g->first_seq;
	info->offset = g->end;
	g->blocks[g->n_blocks++] = *info;
	g->end += info->stored_bytes;
	g->raw_bytes += info->raw_bytes;
	return true;
}

/* What is reserved goes with it, so it is not done for nothing. */
static bool segment_trim(struct segment *g, struct err *e)
{
	struct stat st;

	if (fstat(g->fd, &st) == 0 && (uint64_t)st.st_size <= g->end)
		return true;
	if (g->reserved != UINT64_MAX)
		g->reserved = g->end;
	if (ftruncate(g->fd, (off_t)g->end) == 0)
		return true;
	return err_errno(e, "cut segment %" PRIu64, g->first_seq);
}

/* One write, behind the last block. */
static bool segment_write_tail(struct segment *g, const uint8_t *const part[3],
			       const size_t bytes[3], uint64_t *all,
			       struct err *e)
{
	size_t n = 0;
	uint8_t *out = malloc(bytes[0] + bytes[1] + bytes[2]);

	for (unsigned i = 0; out && i < 3; n += bytes[i++])
		if (bytes[i])
			memcpy(out + n, part[i], bytes[i]);
	bool ok =
		out ? segment_trim(g, e) && segment_write(g, g->end, out, n, e)
		    : err_no_memory(e, "segment");
	free(out);
	*all = n;
	return ok;
}

bool segment_finish(struct segment *g, const struct capture_row *row,
		    const void *index, size_t index_bytes,
		    struct segment_end *end, struct err *e)
{
	struct segment_footer head = {.blocks = g->n_blocks,
				      .capture = g->capture,
				      .first_seq = g->first_seq,
				      .link_type = g->link_type,
				      .snaplen = g->snaplen};
	size_t bytes[3] = {index_bytes};
	uint64_t n = 0;
	uint8_t *footer =
		segment_footer_encode(head, g->blocks, row, &bytes[1]);
	uint8_t *table =
		footer ? seek_table_encode(g->blocks, g->n_blocks,
					   g->head_bytes, g->end, index_bytes,
					   (uint32_t)bytes[1], &bytes[2])
		       : NULL;
	const uint8_t *const part[3] = {index, footer, table};
	bool ok = table ? segment_write_tail(g, part, bytes, &n, e)
			: err_no_memory(e, "segment");

	if (ok)
		segment_unreserve(g);
	*end = (struct segment_end){g->capture, g->first_seq, g->n_blocks,
				    g->head_bytes + n};
	free(table);
	free(footer);
	return ok;
}

void segment_free(struct segment *g)
{
	if (!g)
		return;
	if (g->fd >= 0)
		close(g->fd);
	if (g->direct_fd >= 0)
		close(g->direct_fd);
	free(g->blocks);
	free(g);
}
