/*
 * Savefiles into a feed. Guarantees that whole packets before the place where
 * a file ends or breaks go in and that this is told apart from its good end;
 * times and lengths are libpcap's. Leaves out other formats than libpcap's.
 */
#include "capture.h"

#include "fill.h"
#include "input.h"

#include <stdio.h>
#include <stdlib.h>

struct savefile {
	struct input *input;
	pcap_t *pcap;
	uint32_t link_type, snaplen;
	char name[128]; /* for messages */
};

/* libpcap could not read the header: because of the reader, or the file. */
static void header_error(const struct savefile *s, const char *said,
			 struct err *e)
{
	const char *broken = input_broken(s->input);

	if (input_error(s->input)) {
		*e = *input_error(s->input);
		err_wrap(e, "%s", s->name);
		return;
	}
	err_set(e, ERR_USAGE, "%s: not a savefile: %s", s->name,
		broken ? broken : said);
	err_hint(e, "Expected a pcap or pcapng file, as it is or compressed "
		    "with zstd.");
}

struct savefile *savefile_open(savefile_read read, void *ctx, const char *name,
			       struct err *e)
{
	char said[PCAP_ERRBUF_SIZE];
	struct savefile *s = calloc(1, sizeof(*s));
	FILE *file = NULL;

	if (!s || !(s->input = input_open(read, ctx))) {
		err_errno(e, "%s", name);
		goto fail;
	}
	snprintf(s->name, sizeof(s->name), "%s", name);
	file = input_file(s->input, e);
	if (!file)
		goto fail;
	s->pcap = pcap_fopen_offline_with_tstamp_precision(
		file, PCAP_TSTAMP_PRECISION_NANO, said);
	if (!s->pcap) {
		header_error(s, said, e);
		goto fail;
	}
	s->link_type = link_type_of_dlt(pcap_datalink(s->pcap));
	s->snaplen = (uint32_t)pcap_snapshot(s->pcap);
	return s;
fail:
	if (file)
		fclose(file);
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

static bool incomplete(const struct savefile *s, uint64_t packets,
		       const char *why, struct err *e)
{
	return err_set(e, ERR_INCOMPLETE, "%s: after %llu packet%s: %s",
		       s->name, (unsigned long long)packets,
		       packets == 1 ? "" : "s", why);
}

/* The file has come to an end, good or bad: r is pcap_next_ex's. */
static bool end_of_file(const struct savefile *s, int r, uint64_t packets,
			struct err *e)
{
	if (input_error(s->input)) {
		*e = *input_error(s->input);
		return err_wrap(e, "%s", s->name);
	}
	if (input_broken(s->input))
		return incomplete(s, packets, input_broken(s->input), e);
	if (r != PCAP_ERROR_BREAK)
		return incomplete(s, packets, pcap_geterr(s->pcap), e);
	return true;
}

static bool copy_packet(const struct savefile *s, struct fill *fill,
			const struct pcap_pkthdr *from, const u_char *body,
			struct err *e)
{
	struct packet_head h = {
		.sec = (uint32_t)from->ts.tv_sec,
		.nsec = (uint32_t)from->ts.tv_usec,
		.caplen = from->caplen,
		.len = from->len,
	};
	char why[96];

	if (h.caplen > BLOCK_PACKET_MAX) {
		snprintf(why, sizeof(why),
			 "the next one has %u bytes, over the limit of %u",
			 h.caplen, BLOCK_PACKET_MAX);
		return incomplete(s, fill->received, why, e);
	}
	if (fill_packet(fill, &h, body))
		return true;
	if (feed_room(fill->feed))
		return err_set(e, ERR_FAILED, "%s: out of memory for a block",
			       s->name);
	return err_set(e, ERR_UNREACHABLE, "%s: pcapd is stopping", s->name);
}

bool savefile_copy(struct savefile *s, struct feed *f, uint64_t *packets,
		   uint64_t *raw_bytes, struct err *e)
{
	struct pcap_pkthdr *head;
	const u_char *body;
	struct fill fill;
	bool ok = true;

	fill_init(&fill, f, true);
	fill_set_type(&fill, s->link_type, s->snaplen);
	while (ok) {
		int r = pcap_next_ex(s->pcap, &head, &body);

		if (r != 1) {
			ok = end_of_file(s, r, fill.received, e);
			break;
		}
		ok = copy_packet(s, &fill, head, body, e);
	}
	fill_seal(&fill);
	*packets = fill.received;
	*raw_bytes = fill.raw_bytes;
	return ok;
}

void savefile_close(struct savefile *s)
{
	if (!s)
		return;
	if (s->pcap)
		pcap_close(s->pcap);
	input_close(s->input);
	free(s);
}
