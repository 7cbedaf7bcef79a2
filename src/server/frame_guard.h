/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frame_guard: bounds on the HTTP/2 frames that a peer sends (RFC 9113,
 * RFC 7541).
 *
 * What: gRPC keeps what a header block has until its last frame, parses a
 * string of HPACK again with every frame that continues it, and answers resets,
 * settings and pings as fast as they come: memory and time without bound. So
 * every byte of a peer goes through a guard before gRPC has it; the first thing
 * over a bound is the connection's end. What is within the bounds and no HTTP/2
 * all the same is gRPC's to judge.
 * Threads: a guard belongs to one thread at a time. Budgets are shared by the
 * connections of one person, on any number of threads.
 * Ownership: plain memory.
 * Limits: DATA is bounded by gRPC's flow control and not here, but for frames
 * of it that are empty.
 */
#ifndef PCAPD_SERVER_FRAME_GUARD_H
#define PCAPD_SERVER_FRAME_GUARD_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

/* Of a header block: HEADERS and all its CONTINUATION frames together. gRPC's
 * own bound on what comes out of HPACK is as large (METADATA_MAX), and answered
 * in words; so what comes out may be more here. */
#define FRAME_HEADERS_MAX (16u << 10)
#define FRAME_FIELDS_MAX (64u << 10)
#define FRAME_CONTINUATIONS_MAX 8u
/* Of frames that are neither DATA nor headers. */
#define FRAME_OTHER_MAX 1024u
/* SETTINGS and as many PINGs that a connection has beside the budgets. */
#define FRAME_GREETINGS 4u
/* Streams that are opened before the peer has acknowledged our SETTINGS. */
#define FRAME_EARLY_STREAMS 64u
/* Of HPACK's table; SETTINGS_HEADER_TABLE_SIZE is not changed. */
#define FRAME_TABLE_BYTES 4096u
#define FRAME_TABLE_ENTRIES (FRAME_TABLE_BYTES / 32)

/* --- how many frames in a time --- */

enum frame_kind {
	FRAME_STREAM, /* header blocks, each of which opens a stream */
	FRAME_RESET,
	FRAME_SETTINGS,
	FRAME_PING,
	FRAME_WINDOW,
	FRAME_USELESS, /* PRIORITY, DATA without data, unknown types */
	FRAME_KINDS
};

/* When each kind's budget is full again, by CLOCK_MONOTONIC. Zeroed: it is. */
struct frame_budgets {
	_Atomic int64_t full_ns[FRAME_KINDS];
};

/* So many bytes were sent to the peer, which may give as much room again. */
void frame_budgets_sent(struct frame_budgets *b, uint64_t bytes,
			int64_t now_ns);

/* --- one connection --- */

/* Sizes of one entry of HPACK's table. What Huffman's code makes of bytes is
 * known within bounds only: the most is taken for what gRPC has to hold, the
 * least for when it forgets an entry, so that no good peer is refused. */
struct hpack_entry {
	uint16_t name_most, name_least, most, least;
};

struct hpack {
	enum {
		HPACK_FIELD, /* between two of them */
		HPACK_NUMBER,
		HPACK_LENGTH, /* the first byte of a string */
		HPACK_STRING,
	} state;
	uint8_t first; /* of the field: what its number is for */
	bool in_string, is_value, huffman;
	uint32_t number;
	unsigned shift;
	uint32_t left; /* of the string */
	struct hpack_entry entry;
	uint32_t fields; /* bytes that this block's fields have */
	/* A ring, the newest last. */
	struct hpack_entry table[FRAME_TABLE_ENTRIES];
	unsigned n_entries, newest;
	uint32_t table_least, table_max;
};

struct frame_guard {
	struct frame_budgets *budgets;
	int64_t acknowledge_by_ns;
	bool acknowledged;
	uint8_t n_settings, n_pings; /* up to FRAME_GREETINGS */
	unsigned n_preface, n_head;  /* bytes there are of them */
	uint8_t head[9];
	uint8_t type, flags;
	uint32_t stream;
	uint32_t left;	       /* of the frame's payload */
	uint32_t front, back;  /* of it, that is not the header block's */
	bool pad_known;	       /* its first byte was seen */
	uint32_t block_stream; /* 0: no header block is open */
	uint32_t block_bytes, n_continuations, n_early;
	struct hpack hpack;
};

/* SETTINGS have to be acknowledged by then. */
void frame_guard_init(struct frame_guard *g, struct frame_budgets *b,
		      int64_t acknowledge_by_ns);
/* What the peer sends, in any pieces. false: the connection has to be closed,
 * and gRPC may not have these bytes; e names the bound, the guard is used no
 * more. */
bool frame_guard_take(struct frame_guard *g, const uint8_t *bytes, size_t n,
		      int64_t now_ns, struct err *e);
/* false: SETTINGS were not acknowledged in time. */
bool frame_guard_in_time(const struct frame_guard *g, int64_t now_ns,
			 struct err *e);

#endif
