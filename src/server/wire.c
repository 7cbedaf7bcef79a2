/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to bytes and back. Guarantees that packets are sent from the block
 * that holds them, and that no text from a peer is taken that is not UTF-8.
 * Leaves out the meaning of requests: who asks for a value checks it.
 */
#include "server/wire.h"

#include "server/text.h"

#include <grpc/byte_buffer_reader.h>
#include <stdlib.h>

grpc_byte_buffer *wire_pack(const ProtobufCMessage *m)
{
	grpc_slice slice =
		grpc_slice_malloc(protobuf_c_message_get_packed_size(m));

	protobuf_c_message_pack(m, GRPC_SLICE_START_PTR(slice));
	grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_slice_unref(slice);
	return bytes;
}

/* Text of a request lies in plain or oneof fields, none is repeated. */
static const char *bad_text(const ProtobufCMessage *m)
{
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		const char *base = (const char *)m;
		bool oneof = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;

		if (f->type != PROTOBUF_C_TYPE_STRING ||
		    f->label == PROTOBUF_C_LABEL_REPEATED)
			continue;
		if (oneof &&
		    *(const uint32_t *)(base + f->quantifier_offset) != f->id)
			continue;
		const char *text = *(char *const *)(base + f->offset);
		if (text && !text_is_utf8(text))
			return f->name;
	}
	return NULL;
}

/* What a message may take. A field that we do not know takes 80 bytes where
 * two were sent, and is kept with the message. */
struct wire_room {
	size_t left;
	bool is_over;
};

static void *wire_room_alloc(void *ctx, size_t n)
{
	struct wire_room *room = ctx;

	if (n > room->left) {
		room->is_over = true;
		return NULL;
	}
	room->left -= n;
	return malloc(n);
}

static void wire_room_free(void *ctx, void *at)
{
	(void)ctx;
	free(at);
}

ProtobufCMessage *wire_unpack(const ProtobufCMessageDescriptor *d,
			      grpc_byte_buffer *bytes, struct err *e)
{
	size_t most = 2 * grpc_byte_buffer_length(bytes) + WIRE_ROOM;
	struct wire_room room = {.left = most};
	ProtobufCAllocator counted = {wire_room_alloc, wire_room_free, &room};
	grpc_byte_buffer_reader reader;
	ProtobufCMessage *m = NULL;

	if (grpc_byte_buffer_reader_init(&reader, bytes)) {
		grpc_slice all = grpc_byte_buffer_reader_readall(&reader);

		m = protobuf_c_message_unpack(d, &counted,
					      GRPC_SLICE_LENGTH(all),
					      GRPC_SLICE_START_PTR(all));
		grpc_slice_unref(all);
		grpc_byte_buffer_reader_destroy(&reader);
	}
	if (!m && room.is_over) {
		err_set(e, ERR_LIMIT,
			"the fields of %s take over %zu bytes of memory",
			d->name, most);
		return NULL;
	}
	if (!m) {
		err_set(e, ERR_USAGE, "the request is not a %s message",
			d->name);
		return NULL;
	}
	const char *field = bad_text(m);
	if (field) {
		err_set(e, ERR_USAGE, "the field '%s' of %s is not UTF-8",
			field, d->name);
		protobuf_c_message_free_unpacked(m, NULL);
		return NULL;
	}
	return m;
}

static size_t server_wire_varint(uint8_t *to, uint64_t n)
{
	size_t i = 0;

	for (; n >= 0x80; n >>= 7)
		to[i++] = (uint8_t)(n | 0x80);
	to[i++] = (uint8_t)n;
	return i;
}

/* A field with a number; what is 0 is left out. */
static size_t server_wire_number(uint8_t *to, unsigned field, uint64_t value)
{
	if (value == 0)
		return 0;
	to[0] = (uint8_t)(field << 3);
	return 1 + server_wire_varint(to + 1, value);
}

/* The key and the length of a field with bytes. */
static size_t bytes_head(uint8_t *to, unsigned field, uint64_t n)
{
	to[0] = (uint8_t)(field << 3 | 2);
	return 1 + server_wire_varint(to + 1, n);
}

size_t wire_packets_head(uint8_t out[WIRE_HEAD_MAX],
			 const struct packets_head *h)
{
	uint8_t inner[WIRE_HEAD_MAX];
	size_t n = 0;

	n += server_wire_number(inner + n, 1, h->count);
	n += server_wire_number(inner + n, 2, h->blocks_done);
	n += server_wire_number(inner + n, 3, h->zstd_raw_bytes != 0);
	n += server_wire_number(inner + n, 4, h->zstd_raw_bytes);
	n += server_wire_number(inner + n, 5, h->beside_bytes);
	if (h->data_bytes)
		n += bytes_head(inner + n, 15, h->data_bytes);
	size_t m = bytes_head(out, PCAP__V1__REPLAY_RESPONSE__EVENT_PACKETS,
			      n + h->data_bytes);
	memcpy(out + m, inner, n);
	return m + n;
}

static void unref_block(void *block)
{
	block_unref(block);
}

static grpc_slice head_slice(const struct packets_head *h)
{
	uint8_t bytes[WIRE_HEAD_MAX];
	size_t n = wire_packets_head(bytes, h);

	return grpc_slice_from_copied_buffer((const char *)bytes, n);
}

/* h and its data, which is in block's arena, if it is here. */
static grpc_byte_buffer *wire_data(const struct packets_head *h,
				   struct block *block, uint32_t from)
{
	grpc_slice parts[2] = {head_slice(h)};
	size_t n_parts = 1;

	if (block)
		parts[n_parts++] = grpc_slice_new_with_user_data(
			block->arena + from, h->data_bytes, unref_block, block);
	grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(parts, n_parts);
	for (size_t i = 0; i < n_parts; i++)
		grpc_slice_unref(parts[i]);
	return bytes;
}

grpc_byte_buffer *wire_packets(const struct slice *s, uint64_t blocks_done)
{
	struct packets_head h = {
		.count = s->packets,
		.blocks_done = blocks_done,
		.data_bytes = s->block ? s->to - s->from : 0,
	};

	return wire_data(&h, s->block, s->from);
}

grpc_byte_buffer *wire_frame(const struct block_info *info,
			     struct block *inside, uint64_t blocks_done)
{
	struct packets_head h = {
		.count = info->packets,
		.blocks_done = blocks_done,
		.zstd_raw_bytes = info->raw_bytes,
		.beside_bytes = inside ? 0 : info->stored_bytes,
		.data_bytes = inside ? info->stored_bytes : 0,
	};

	return wire_data(&h, inside, 0);
}

uint32_t wire_snaplen(const struct capture_view *v, uint32_t asked, bool live)
{
	uint32_t snaplen = v->row.snaplen;

	/* What is imported from here on may have larger packets. */
	if (live && v->row.savefile)
		snaplen = BLOCK_PACKET_MAX;
	return asked && asked < snaplen ? asked : snaplen;
}

grpc_byte_buffer *wire_header(const struct capture_view *v, uint32_t link_type,
			      uint32_t snaplen, uint64_t blocks)
{
	Pcap__V1__ReplayResponse stream = PCAP__V1__REPLAY_RESPONSE__INIT;
	Pcap__V1__Header header = PCAP__V1__HEADER__INIT;
	Pcap__V1__Capture capture;
	uint8_t head[SAVEFILE_HEAD_BYTES];

	wire_capture(&capture, v);
	savefile_head(head, link_type, snaplen);
	header.savefile_header.data = head;
	header.savefile_header.len = sizeof(head);
	header.capture = &capture;
	header.blocks = blocks;
	stream.event_case = PCAP__V1__REPLAY_RESPONSE__EVENT_HEADER;
	stream.header = &header;
	return wire_pack(&stream.base);
}

grpc_byte_buffer *wire_lost(uint64_t packets, const char *reason)
{
	Pcap__V1__ReplayResponse stream = PCAP__V1__REPLAY_RESPONSE__INIT;
	Pcap__V1__Lost lost = PCAP__V1__LOST__INIT;

	lost.packets = packets;
	lost.reason = (char *)(reason ? reason : "");
	stream.event_case = PCAP__V1__REPLAY_RESPONSE__EVENT_LOST;
	stream.lost = &lost;
	return wire_pack(&stream.base);
}

grpc_byte_buffer *wire_end(const Pcap__V1__End *end)
{
	Pcap__V1__ReplayResponse stream = PCAP__V1__REPLAY_RESPONSE__INIT;

	stream.event_case = PCAP__V1__REPLAY_RESPONSE__EVENT_END;
	stream.end = (Pcap__V1__End *)end;
	return wire_pack(&stream.base);
}

static Pcap__V1__Capture__State wire_state(enum capture_state state)
{
	switch (state) {
	case CAPTURE_STOPPED:
		return PCAP__V1__CAPTURE__STATE__STOPPED;
	case CAPTURE_RUNNING:
		return PCAP__V1__CAPTURE__STATE__RUNNING;
	case CAPTURE_WAITING:
		return PCAP__V1__CAPTURE__STATE__WAITING;
	case CAPTURE_IMPORTING:
		return PCAP__V1__CAPTURE__STATE__IMPORTING;
	}
	return PCAP__V1__CAPTURE__STATE__STATE_UNSPECIFIED;
}

void wire_capture(Pcap__V1__Capture *m, const struct capture_view *v)
{
	const struct capture_row *r = &v->row;

	pcap__v1__capture__init(m);
	m->id = r->id;
	m->n_aliases = r->n_aliases;
	m->aliases = r->aliases;
	m->interface = r->interface ? r->interface : "";
	m->filter = r->filter ? r->filter : "";
	m->savefile = r->savefile;
	m->state = wire_state(v->state);
	m->waiting_for =
		v->state == CAPTURE_WAITING ? (char *)v->live.reason : "";
	m->link_type = LINK_TYPE_OF(r->link_type);
	m->snaplen = r->snaplen;
	m->promiscuous = r->promiscuous;
	m->buffer_bytes = r->buffer_bytes;
	m->rings = r->rings ? r->rings : 1;
	m->packets = v->totals.packets;
	m->raw_bytes = v->totals.raw_bytes;
	m->stored_bytes = v->totals.stored_bytes;
	m->min_ns = v->totals.min_ns;
	m->max_ns = v->totals.max_ns;
	m->received = v->live.received;
	m->dropped_kernel = v->live.dropped_kernel;
	m->dropped_interface = v->live.dropped_interface;
	m->dropped_memory = v->live.dropped_memory;
	m->dropped_disk = v->writer.dropped_disk;
	m->keep_bytes = r->keep_bytes;
	m->keep_age_ns = r->keep_age_ns;
	m->people = (char *)r->people;
}

static void wire_gap(Pcap__V1__Gap *m, const struct ledger_row *r)
{
	pcap__v1__gap__init(m);
	m->cause = (Pcap__V1__Gap__Cause)r->cause;
	m->from_ns = r->from_ns;
	m->to_ns = r->to_ns == LEDGER_OPEN ? 0 : r->to_ns;
	m->packets = r->packets;
	m->detail = (char *)r->detail;
}

Pcap__V1__Coverage *wire_coverage(const struct coverage *c, size_t max_rows,
				  struct err *e)
{
	size_t n = c->n < max_rows ? c->n : max_rows;
	struct {
		Pcap__V1__Coverage message;
		Pcap__V1__Gap gaps[];
	} *m = calloc(1, sizeof(*m) + n * (sizeof(*m->gaps) + sizeof(void *)));

	if (!m) {
		err_no_memory(e, "gaps");
		return NULL;
	}
	Pcap__V1__Gap **list = (Pcap__V1__Gap **)&m->gaps[n];
	for (size_t i = 0; i < n; i++) {
		wire_gap(&m->gaps[i], &c->rows[i]);
		list[i] = &m->gaps[i];
	}
	pcap__v1__coverage__init(&m->message);
	m->message.since_ns = c->since_ns;
	m->message.until_ns = c->until_ns;
	m->message.from_ns = c->from_ns;
	m->message.to_ns = c->to_ns;
	m->message.gaps = c->gaps;
	m->message.missing = c->missing;
	m->message.n_rows = n;
	m->message.rows = list;
	return &m->message;
}
