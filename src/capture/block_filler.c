/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filling blocks. Guarantees one copy a packet, that a block holds packets of
 * one link type and snaplen, and that every packet it is given is counted as
 * received or as dropped. Leaves out when to publish and when a block is old.
 */
#include "capture/block_filler.h"

void block_filler_init(struct block_filler *f, struct capture_tail *tail)
{
	*f = (struct block_filler){.tail = tail};
}

void block_filler_set_type(struct block_filler *f, uint32_t link_type,
			   uint32_t snaplen)
{
	if (f->link_type != link_type || f->snaplen != snaplen)
		block_filler_seal(f);
	f->link_type = link_type;
	f->snaplen = snaplen;
}

bool block_filler_ready(struct block_filler *f)
{
	if (f->block && block_fits(f->block, f->snaplen))
		return true;
	/* Once seen it stays, but for a disk that becomes full. */
	if (!f->next_is_sure)
		f->next_is_sure = capture_tail_room(f->tail) > 0;
	return f->next_is_sure;
}

bool block_filler_takes(struct block_filler *f)
{
	return block_filler_ready(f) || capture_tail_refuses(f->tail);
}

static bool block_filler_next_block(struct block_filler *f)
{
	block_filler_seal(f);
	f->next_is_sure = false;
	f->block = capture_tail_open(f->tail, f->link_type, f->snaplen);
	return f->block;
}

bool block_filler_packet(struct block_filler *f, const struct packet_head *h,
			 const uint8_t *body)
{
	if (h->caplen > BLOCK_PACKET_MAX ||
	    ((!f->block || !block_fits(f->block, h->caplen)) &&
	     !block_filler_next_block(f))) {
		int64_t ns = packet_time_ns(h);

		f->dropped++;
		loss_add(&f->lost, 1, ns, ns + 1);
		return false;
	}
	block_append(f->block, h, body);
	f->unpublished++;
	f->received++;
	f->raw_bytes += sizeof(*h) + h->caplen;
	f->newest_ns = packet_time_ns(h);
	return true;
}

void block_filler_publish(struct block_filler *f)
{
	if (!f->unpublished)
		return;
	capture_tail_publish(f->tail, f->block, f->unpublished);
	f->unpublished = 0;
}

void block_filler_seal(struct block_filler *f)
{
	if (!f->block)
		return;
	block_filler_publish(f);
	capture_tail_seal(f->tail, f->block);
	f->block = NULL;
}

int64_t block_filler_deadline_ns(const struct block_filler *f, int64_t age_ns)
{
	return f->block ? f->block->opened_ns + age_ns : INT64_MAX;
}
