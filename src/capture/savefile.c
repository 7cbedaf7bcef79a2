/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Savefiles into a capture tail. Guarantees that whole packets before the place
 * where a file ends or breaks go in, that this is told apart from its good end,
 * and that each packet that does not go in is counted, with its time. Times and
 * lengths are libpcap's. Leaves out other formats than pcap and pcapng.
 */
#include "capture/capture.h"

#include "capture/block_filler.h"
#include "capture/pcapng.h"
#include "capture/savefile_stream.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct savefile {
	savefile_read read;
	void *ctx;
	struct savefile_stream *input;
	FILE *file; /* until libpcap closes it */
	pcap_t *pcap;
	struct pcapng *pcapng; /* one of the two */
	uint32_t network;      /* as the file has it */
	uint32_t link_type, snaplen;
	char name[128]; /* for messages */
	/* While it is copied. */
	struct block_filler *fill;
	int64_t block_age_ns;
	struct savefile_result *result;
	struct savefile_mark *marks;
	size_t n_marks;
	/* Of the packed frame whose packets come: whether it is whole is known
	 * at its end. */
	uint64_t frame, frame_packets;
	int64_t frame_min_ns, frame_max_ns;
};

/* Whoever reads the capture has what came, however long the next bytes take. */
static int64_t savefile_bytes(void *ctx, void *to, size_t n, struct err *e)
{
	struct savefile *s = ctx;

	if (s->fill) {
		block_filler_publish(s->fill);
		if (block_filler_deadline_ns(s->fill, s->block_age_ns) <=
		    monotonic_ns())
			block_filler_seal(s->fill);
	}
	return s->read(s->ctx, to, n, e);
}

/* --- the header --- */

/* The header could not be read: because of the reader, or the file. */
static void header_error(const struct savefile *s, const char *said,
			 struct err *e)
{
	const char *broken = savefile_stream_broken(s->input);
	const char *packing = savefile_stream_packing(s->input);

	if (savefile_stream_error(s->input)) {
		*e = *savefile_stream_error(s->input);
		err_wrap(e, "%s", s->name);
		return;
	}
	err_set(e, ERR_USAGE, "%s: not a savefile: %s", s->name,
		broken ? broken : said);
	if (packing)
		err_hint(e,
			 "It is packed with %s: unpack it, and 'pcap import "
			 "NAME -' reads what comes.",
			 packing);
	else
		err_hint(e, "Expected a pcap or pcapng file, as it is or "
			    "compressed with zstd or gzip.");
}

/* As libpcap has it: some numbers mean the same. */
static uint32_t savefile_type(uint32_t network)
{
	uint32_t bits = network & ~LINK_TYPE_OF(network);

	return link_type_of_dlt(dlt_of_link_type(LINK_TYPE_OF(network))) | bits;
}

static bool savefile_open_pcapng(struct savefile *s, struct err *e)
{
	const char *why;

	s->pcapng = pcapng_open(s->file, &why);
	if (!s->pcapng) {
		header_error(s, why, e);
		return false;
	}
	s->network = pcapng_link_type(s->pcapng);
	s->snaplen = pcapng_snaplen(s->pcapng);
	return true;
}

/* A file of this link type without packets, as libpcap reads it. */
static uint32_t savefile_limit(uint32_t link_type)
{
	uint8_t head[SAVEFILE_HEAD_BYTES];
	char said[PCAP_ERRBUF_SIZE];
	uint32_t limit = CAPTURE_SNAPLEN_MAX;

	/* Where no snaplen is given it takes the most that it takes at all. */
	savefile_head(head, link_type, 0);
	FILE *memory = fmemopen(head, sizeof(head), "r");
	pcap_t *p = memory ? pcap_fopen_offline(memory, said) : NULL;
	if (p) {
		limit = (uint32_t)pcap_snapshot(p);
		pcap_close(p);
	} else if (memory) {
		fclose(memory);
	}
	return limit;
}

/* libpcap cuts a packet that is larger than the snaplen in the file's header;
 * so it is not told of any. */
static void savefile_hide_snaplen(struct savefile *s)
{
	uint8_t *head = savefile_stream_head(s->input);

	if (!head)
		return;
	uint8_t *at = head + 16;
	s->snaplen = head[0] == 0xa1 ? (uint32_t)at[0] << 24 | at[1] << 16 |
					       at[2] << 8 | at[3]
				     : (uint32_t)at[3] << 24 | at[2] << 16 |
					       at[1] << 8 | at[0];
	memset(at, 0, sizeof(uint32_t));
}

static bool savefile_open_pcap(struct savefile *s, struct err *e)
{
	char said[PCAP_ERRBUF_SIZE];

	savefile_hide_snaplen(s);
	s->pcap = pcap_fopen_offline_with_tstamp_precision(
		s->file, PCAP_TSTAMP_PRECISION_NANO, said);
	if (!s->pcap) {
		header_error(s, said, e);
		return false;
	}
	s->file = NULL;
	s->network = link_type_of_dlt(pcap_datalink(s->pcap)) |
		     (uint32_t)pcap_datalink_ext(s->pcap);
	return true;
}

/* 0: none was given. No packet in a block is larger. */
static uint32_t savefile_bound(uint32_t snaplen)
{
	if (snaplen == 0)
		return CAPTURE_SNAPLEN_MAX;
	return snaplen < BLOCK_PACKET_MAX ? snaplen : BLOCK_PACKET_MAX;
}

struct savefile *savefile_open(savefile_read read, void *ctx, const char *name,
			       struct err *e)
{
	struct savefile *s = calloc(1, sizeof(*s));
	uint32_t magic = 0;

	if (!s || !(s->input = savefile_stream_open(savefile_bytes, s))) {
		err_errno(e, "%s", name);
		goto fail;
	}
	s->read = read;
	s->ctx = ctx;
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->file = savefile_stream_file(s->input, e);
	if (!s->file)
		goto fail;
	if (savefile_stream_head(s->input))
		memcpy(&magic, savefile_stream_head(s->input), sizeof(magic));
	if (!(magic == PCAPNG_MAGIC ? savefile_open_pcapng(s, e)
				    : savefile_open_pcap(s, e)))
		goto fail;
	s->link_type = savefile_type(s->network);
	s->snaplen = savefile_bound(s->snaplen);
	return s;
fail:
	savefile_close(s);
	return NULL;
}

uint32_t savefile_link_type(const struct savefile *s)
{
	return s->link_type;
}

uint32_t savefile_snaplen(const struct savefile *s)
{
	return s->snaplen;
}

/* --- losses --- */

/* As far as the ledger's clock goes. */
static int64_t savefile_ns(const struct record *r)
{
	if (r->sec < 0)
		return 0;
	if (r->sec >= INT64_MAX / NS_PER_S)
		return INT64_MAX - 1;
	return r->sec * NS_PER_S + r->nsec;
}

__attribute__((format(printf, 4, 5))) static void
savefile_lose(struct savefile *s, enum savefile_loss_kind kind, int64_t ns,
	      const char *fmt, ...)
{
	struct savefile_loss *l = &s->result->losses[kind];
	va_list args;

	l->packets++;
	if (*l->why) {
		if (ns < l->from_ns)
			l->from_ns = ns;
		if (ns >= l->to_ns)
			l->to_ns = ns + 1;
		return;
	}
	va_start(args, fmt);
	vsnprintf(l->why, sizeof(l->why), fmt, args);
	va_end(args);
	l->from_ns = ns;
	l->to_ns = ns + 1;
}

/* What it broke at, and what came of the frame that broke. */
static void savefile_break(struct savefile *s, const char *why)
{
	struct savefile_result *r = s->result;
	struct savefile_loss *cut = &r->losses[SAVEFILE_CUT];
	struct savefile_loss *doubtful = &r->losses[SAVEFILE_DOUBTFUL];

	snprintf(cut->why, sizeof(cut->why), "%s", why);
	cut->from_ns = r->packets ? r->last_ns : 0;
	cut->to_ns = INT64_MAX;
	if (!savefile_stream_doubtful(s->input) ||
	    s->frame != savefile_stream_frames(s->input))
		return;
	snprintf(doubtful->why, sizeof(doubtful->why),
		 "may have been altered: %s", why);
	doubtful->packets = s->frame_packets;
	doubtful->from_ns = s->frame_min_ns;
	doubtful->to_ns = s->frame_max_ns + 1;
}

/* "x.pcap: 2 packets left out: ...; after 5 packets: ..." */
static bool savefile_incomplete(const struct savefile *s, struct err *e)
{
	const struct savefile_result *r = s->result;
	char text[600] = "";
	size_t at = 0;

	for (int k = 0; k < SAVEFILE_LOSSES; k++) {
		const struct savefile_loss *l = &r->losses[k];
		uint64_t n = k == SAVEFILE_CUT ? r->packets : l->packets;

		if (!*l->why || at >= sizeof(text))
			continue;
		at += (size_t)snprintf(text + at, sizeof(text) - at,
				       "%s%s%llu packet%s%s %s", at ? "; " : "",
				       k == SAVEFILE_CUT ? "after " : "",
				       (unsigned long long)n, n == 1 ? "" : "s",
				       k == SAVEFILE_CUT	? ":"
				       : k == SAVEFILE_DOUBTFUL ? ""
								: " left out:",
				       l->why);
	}
	return !*text || err_set(e, ERR_INCOMPLETE, "%s: %s", s->name, text);
}

/* --- packets --- */

/* 1 a packet, 0 a good end, -1 another; *why is libpcap's word then. */
static int savefile_next(struct savefile *s, struct record *r, const char **why)
{
	struct pcap_pkthdr *head;
	const u_char *body;

	if (s->pcapng)
		return pcapng_next(s->pcapng, r, why);
	int got = pcap_next_ex(s->pcap, &head, &body);
	if (got != 1) {
		*why = pcap_geterr(s->pcap);
		return got == PCAP_ERROR_BREAK ? 0 : -1;
	}
	/* The file's 32 bits have no sign, whatever libpcap makes of them. */
	*r = (struct record){.link_type = s->network,
			     .snaplen = s->snaplen,
			     .sec = (uint32_t)head->ts.tv_sec,
			     .nsec = (uint32_t)head->ts.tv_usec,
			     .caplen = head->caplen,
			     .len = head->len,
			     .body = body};
	return 1;
}

/* Whether a block can have it; if not, that is counted. */
static bool savefile_fits(struct savefile *s, const struct record *r)
{
	int64_t ns = savefile_ns(r);

	if (r->link_type != s->network)
		savefile_lose(s, SAVEFILE_LINK_TYPE, ns,
			      "link type %u, and the first interface has %u",
			      LINK_TYPE_OF(r->link_type),
			      LINK_TYPE_OF(s->network));
	else if (r->sec < 0 || r->sec > UINT32_MAX)
		savefile_lose(s, SAVEFILE_TIME, ns, "a time %s",
			      r->sec < 0 ? "before 1970"
					 : "after 2106, the last that a "
					   "savefile can say");
	else if (r->caplen > BLOCK_PACKET_MAX)
		savefile_lose(s, SAVEFILE_TOO_LARGE, ns,
			      "%u bytes, over the limit of %u", r->caplen,
			      BLOCK_PACKET_MAX);
	else
		return true;
	return false;
}

static void savefile_count(struct savefile *s, const struct record *r,
			   uint64_t frame_before)
{
	struct savefile_result *sum = s->result;
	int64_t ns = savefile_ns(r);

	if (sum->packets++ == 0)
		sum->min_ns = sum->max_ns = ns;
	sum->min_ns = ns < sum->min_ns ? ns : sum->min_ns;
	sum->max_ns = ns > sum->max_ns ? ns : sum->max_ns;
	sum->last_ns = ns;
	for (size_t i = 0; i < s->n_marks; i++)
		if (s->marks[i].packets == sum->packets)
			s->marks[i].met = s->marks[i].ns == ns;
	sum->untimed += r->untimed;
	sum->over_limit += r->caplen > sum->limit;
	/* It began in the frame before or not: its end is in this one. */
	s->frame = savefile_stream_frames(s->input);
	if (s->frame != frame_before || !s->frame_packets) {
		s->frame_packets = 0;
		s->frame_min_ns = s->frame_max_ns = ns;
	}
	s->frame_packets++;
	s->frame_min_ns = ns < s->frame_min_ns ? ns : s->frame_min_ns;
	s->frame_max_ns = ns > s->frame_max_ns ? ns : s->frame_max_ns;
}

/* A header must not say less than a packet has, and what is said is raised in
 * few steps, as each begins a segment. */
static void savefile_raise(struct savefile *s, struct block_filler *fill,
			   const struct record *r)
{
	uint32_t least = s->snaplen;

	if (r->snaplen != s->snaplen && savefile_bound(r->snaplen) > least)
		least = savefile_bound(r->snaplen);
	if (r->caplen > least)
		least = r->caplen > CAPTURE_SNAPLEN_MAX ? BLOCK_PACKET_MAX
							: CAPTURE_SNAPLEN_MAX;
	s->snaplen = least;
	block_filler_set_type(fill, s->link_type, s->snaplen);
}

static bool savefile_put(struct savefile *s, struct block_filler *fill,
			 const struct record *r, struct err *e)
{
	struct packet_head h = {
		.sec = (uint32_t)r->sec,
		.nsec = r->nsec,
		.caplen = r->caplen,
		.len = r->len,
	};
	uint64_t frame = s->frame;

	if (!savefile_fits(s, r))
		return true;
	savefile_raise(s, fill, r);
	if (block_filler_packet(fill, &h, r->body)) {
		savefile_count(s, r, frame);
		return true;
	}
	if (capture_tail_room(fill->tail))
		return err_set(e, ERR_FAILED, "%s: out of memory for a block",
			       s->name);
	return err_set(e, ERR_UNREACHABLE, "%s: pcapd is stopping", s->name);
}

/* The file has come to an end, good or bad. */
static bool savefile_end(struct savefile *s, int got, const char *why,
			 struct err *e)
{
	const struct err *read = savefile_stream_error(s->input);

	if (read) {
		savefile_break(s, read->what);
		savefile_incomplete(s, e);
		e->kind = read->kind;
		return err_hint(e, "%s", read->hint);
	}
	if (savefile_stream_broken(s->input))
		savefile_break(s, savefile_stream_broken(s->input));
	else if (got < 0)
		savefile_break(s, why);
	return savefile_incomplete(s, e);
}

void savefile_look_for(struct savefile *s, struct savefile_mark *marks,
		       size_t n)
{
	s->marks = marks;
	s->n_marks = n;
}

bool savefile_copy(struct savefile *s, struct capture_tail *f,
		   int64_t block_age_ns, struct savefile_result *r,
		   struct err *e)
{
	struct record record;
	struct block_filler fill;
	const char *why = "";
	bool ok = true;
	int got;

	*r = (struct savefile_result){.limit = savefile_limit(s->link_type)};
	s->result = r;
	s->block_age_ns = block_age_ns;
	block_filler_init(&fill, f);
	block_filler_set_type(&fill, s->link_type, s->snaplen);
	s->fill = &fill;
	while ((got = savefile_next(s, &record, &why)) == 1) {
		ok = savefile_put(s, &fill, &record, e);
		if (!ok)
			break;
	}
	s->fill = NULL;
	if (ok)
		ok = savefile_end(s, got, why, e);
	else
		savefile_break(s, "pcapd could not go on");
	block_filler_seal(&fill);
	r->raw_bytes = fill.raw_bytes;
	return ok;
}

void savefile_close(struct savefile *s)
{
	if (!s)
		return;
	if (s->pcap)
		pcap_close(s->pcap);
	if (s->file)
		fclose(s->file);
	pcapng_close(s->pcapng);
	savefile_stream_close(s->input);
	free(s);
}
