/*
 * Filling blocks. Guarantees one copy a packet, that a block holds packets of
 * one link type and snaplen, and that every packet it is given is counted as
 * received or as dropped. Leaves out when to publish and when a block is old.
 */
#include "capture/block_filler.h"

void fill_init(struct fill *f, struct feed *feed, bool wait)
{
	*f = (struct fill){.feed = feed, .wait = wait};
}

void fill_set_type(struct fill *f, uint32_t link_type, uint32_t snaplen)
{
	if (f->link_type != link_type || f->snaplen != snaplen)
		fill_seal(f);
	f->link_type = link_type;
	f->snaplen = snaplen;
}

bool fill_ready(struct fill *f)
{
	if (f->block && block_fits(f->block, f->snaplen))
		return true;
	/* Once seen it stays, but for a disk that becomes full. */
	if (!f->next_is_sure)
		f->next_is_sure = feed_room(f->feed) > 0;
	return f->next_is_sure;
}

bool fill_takes(struct fill *f)
{
	return fill_ready(f) || feed_refuses(f->feed);
}

static bool next_block(struct fill *f)
{
	fill_seal(f);
	f->next_is_sure = false;
	f->block = f->wait ? feed_open_wait(f->feed, f->link_type, f->snaplen)
			   : feed_open(f->feed, f->link_type, f->snaplen);
	return f->block;
}

bool fill_packet(struct fill *f, const struct packet_head *h,
		 const uint8_t *body)
{
	if (h->caplen > BLOCK_PACKET_MAX ||
	    ((!f->block || !block_fits(f->block, h->caplen)) &&
	     !next_block(f))) {
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

void fill_publish(struct fill *f)
{
	if (!f->unpublished)
		return;
	feed_publish(f->feed, f->block, f->unpublished);
	f->unpublished = 0;
}

void fill_seal(struct fill *f)
{
	if (!f->block)
		return;
	fill_publish(f);
	feed_seal(f->feed, f->block);
	f->block = NULL;
}

int64_t fill_deadline_ns(const struct fill *f, int64_t age_ns)
{
	return f->block ? f->block->opened_ns + age_ns : INT64_MAX;
}
