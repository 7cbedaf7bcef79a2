/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Picking packets from slices. Guarantees that a reader gets exactly the
 * packets of its range, filter and count, in order, and that bytes are copied
 * only from the second run of wanted packets on: trimming the ends of a slice
 * costs nothing. Leaves out where slices come from and where they go.
 */
#include "packet/packet_select.h"

#include <assert.h>

/* The wanted packets of one slice: a run of bytes [from, to) of the slice's
 * own block as long as that is enough, then copies. */
struct packet_selection {
	uint32_t from, to;
	uint64_t packets;
	struct block *copy;
};

bool packet_select_all(const struct packet_select *p)
{
	return !p->filter && !p->since_ns && !p->until_ns && !p->max_packets &&
	       !p->snaplen;
}

static bool packet_select_wanted(const struct packet_select *p,
				 const struct packet_head *h,
				 const uint8_t *body)
{
	int64_t t = packet_time_ns(h);

	return (!p->since_ns || t >= p->since_ns) &&
	       (!p->until_ns || t < p->until_ns) &&
	       (!p->filter || bpf_filter_matches(p->filter, h, body));
}

static void packet_select_count(struct packet_select *p,
				const struct packet_head *h)
{
	int64_t t = packet_time_ns(h);

	if (p->packets++ == 0)
		p->min_ns = p->max_ns = t;
	else if (t < p->min_ns)
		p->min_ns = t;
	else if (t > p->max_ns)
		p->max_ns = t;
}

/* Moves the run into a block of its own. */
static bool start_copy(struct packet_select *p, const struct block *b,
		       struct packet_selection *out)
{
	uint32_t snaplen = b->snaplen, at = out->from;
	struct packet_head h;
	const uint8_t *body;

	if (p->snaplen && p->snaplen < snaplen)
		snaplen = p->snaplen;
	out->copy = block_new(p->pool, b->link_type, snaplen);
	if (!out->copy)
		return false;
	out->copy->info.capture = b->info.capture;
	out->copy->info.seq = b->info.seq;
	while (packet_next(b->arena, out->to, &at, &h, &body) == 1)
		block_append(out->copy, &h, body);
	return true;
}

/* Takes the packet h, body that lies at [at, end) of b. */
static bool packet_select_take(struct packet_select *p, const struct block *b,
			       struct packet_selection *out,
			       struct packet_head h, const uint8_t *body,
			       uint32_t at, uint32_t end)
{
	bool cut = p->snaplen && h.caplen > p->snaplen;

	if (!out->copy && !cut && (out->packets == 0 || out->to == at)) {
		if (out->packets++ == 0)
			out->from = at;
		out->to = end;
		return true;
	}
	if (!out->copy && !start_copy(p, b, out))
		return false;
	if (cut)
		h.caplen = p->snaplen;
	block_append(out->copy, &h, body);
	out->packets++;
	return true;
}

static struct slice packet_select_finish(struct slice in,
					 struct packet_selection *out)
{
	if (!out->packets) {
		block_unref(in.block);
		return (struct slice){0};
	}
	if (!out->copy)
		return (struct slice){in.block, out->from, out->to,
				      out->packets};
	block_unref(in.block);
	block_seal(out->copy);
	return (struct slice){out->copy, 0, out->copy->used, out->packets};
}

int packet_select_slice(struct packet_select *p, struct slice in,
			struct slice *out, struct err *e)
{
	const struct block *b = in.block;
	struct packet_selection picked = {0};
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = in.from, before = at;
	int r = 1;

	while (!p->max_packets || p->packets < p->max_packets) {
		r = packet_next(b->arena, in.to, &at, &h, &body);
		if (r != 1)
			break;
		p->examined++;
		if (packet_select_wanted(p, &h, body)) {
			if (!packet_select_take(p, b, &picked, h, body, before,
						at)) {
				err_set(e, ERR_FAILED,
					"out of memory for a block of packets");
				goto fail;
			}
			packet_select_count(p, &h);
		}
		before = at;
	}
	if (r == -1) {
		err_set(e, ERR_FAILED,
			"block %llu does not end with a whole packet",
			(unsigned long long)b->info.seq);
		goto fail;
	}
	*out = packet_select_finish(in, &picked);
	return p->max_packets && p->packets == p->max_packets ? 0 : 1;
fail:
	block_unref(picked.copy);
	block_unref(in.block);
	*out = (struct slice){0};
	return -1;
}

void packet_select_whole(struct packet_select *p, const struct block_info *i)
{
	if (p->packets == 0 || i->min_ns < p->min_ns)
		p->min_ns = i->min_ns;
	if (p->packets == 0 || i->max_ns > p->max_ns)
		p->max_ns = i->max_ns;
	p->packets += i->packets;
	p->examined += i->packets;
}

bool slice_cut(struct slice *s, uint32_t max, struct slice *front)
{
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = s->from;
	uint64_t packets = 0;

	if (s->from == s->to)
		return false;
	if (s->to - s->from <= max) {
		*front = *s;
	} else {
		uint32_t end = at;

		while (packet_next(s->block->arena, s->to, &at, &h, &body) ==
			       1 &&
		       (packets == 0 || at - s->from <= max)) {
			packets++;
			end = at;
		}
		assert(packets);
		*front = (struct slice){s->block, s->from, end, packets};
	}
	block_ref(front->block);
	s->from = front->to;
	s->packets -= front->packets;
	return true;
}
