/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages that are encoded by hand, against protobuf-c's decoder; text that
 * leaves the process; and the table of methods against the services.
 */
#include "server/method.h"
#include "server/text.h"
#include "server/wire.h"

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- packets --- */

static const uint64_t edges[] = {
	0,
	1,
	127,
	128,
	16383,
	16384,
	2097151,
	2097152,
	268435455,
	268435456,
	34359738367ull,
	34359738368ull,
	4398046511103ull,
	4398046511104ull,
	562949953421311ull,
	562949953421312ull,
	72057594037927935ull,
	72057594037927936ull,
	9223372036854775807ull,
	9223372036854775808ull,
	UINT64_MAX,
};
#define EDGES (sizeof(edges) / sizeof(edges[0]))

static void decodes_to(uint64_t count, uint64_t done, uint64_t raw,
		       size_t data_bytes)
{
	static uint8_t bytes[WIRE_HEAD_MAX + (3u << 20)];
	struct packets_head h = {.count = count,
				 .blocks_done = done,
				 .zstd_raw_bytes = raw,
				 .data_bytes = data_bytes};
	size_t n = wire_packets_head(bytes, &h);

	assert_true(n <= WIRE_HEAD_MAX);
	memset(bytes + n, 0x5a, data_bytes);
	Pcap__V1__ReplayResponse *m =
		pcap__v1__replay_response__unpack(NULL, n + data_bytes, bytes);
	assert_non_null(m);
	assert_int_equal(m->event_case,
			 PCAP__V1__REPLAY_RESPONSE__EVENT_PACKETS);
	assert_int_equal(m->base.n_unknown_fields, 0);
	assert_int_equal(m->packets->base.n_unknown_fields, 0);
	assert_true(m->packets->count == count);
	assert_true(m->packets->blocks_done == done);
	assert_int_equal(m->packets->data.len, data_bytes);
	if (data_bytes) {
		assert_int_equal(m->packets->data.data[0], 0x5a);
		assert_int_equal(m->packets->data.data[data_bytes - 1], 0x5a);
	}
	assert_int_equal(m->packets->zstd, raw != 0);
	assert_true(m->packets->raw_bytes == raw);
	/* Not a byte more than the library would need. */
	assert_int_equal(pcap__v1__replay_response__get_packed_size(m),
			 n + data_bytes);
	pcap__v1__replay_response__free_unpacked(m, NULL);
}

static void packets_decode_at_every_length_of_a_varint(void **state)
{
	(void)state;
	for (size_t i = 0; i < EDGES; i++) {
		decodes_to(edges[i], 0, 0, 0);
		decodes_to(0, edges[i], 0, 0);
		decodes_to(0, 0, edges[i], 10);
		decodes_to(edges[i], edges[EDGES - 1 - i], UINT64_MAX, 100);
	}
}

static void packets_decode_at_every_length_of_their_data(void **state)
{
	/* Also where the length of the whole grows by a byte. */
	static const size_t lengths[] = {
		1,     2,     100,   110,    120,     127,     128,
		16350, 16383, 16384, 262144, 2097100, 2097151, 2097152};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (size_t less = 0; less < 16; less++)
			if (lengths[i] > less)
				decodes_to(7, 3, 0, lengths[i] - less);
}

static void frames_beside_are_announced(void **state)
{
	(void)state;
	for (size_t i = 0; i < EDGES; i++) {
		uint8_t bytes[WIRE_HEAD_MAX];
		struct packets_head h = {.count = edges[EDGES - 1 - i],
					 .blocks_done = UINT64_MAX,
					 .zstd_raw_bytes = UINT64_MAX,
					 .beside_bytes = edges[i]};
		size_t n = wire_packets_head(bytes, &h);

		assert_true(n <= WIRE_HEAD_MAX);
		Pcap__V1__ReplayResponse *m =
			pcap__v1__replay_response__unpack(NULL, n, bytes);
		assert_non_null(m);
		assert_true(m->packets->count == h.count);
		assert_true(m->packets->beside_bytes == h.beside_bytes);
		assert_int_equal(m->packets->data.len, 0);
		assert_int_equal(pcap__v1__replay_response__get_packed_size(m),
				 n);
		pcap__v1__replay_response__free_unpacked(m, NULL);
	}
}

static void packets_are_sent_from_the_block(void **state)
{
	struct block_pool *pool = block_pool_new(1);
	struct block *b = block_new(pool, 1, 65535);
	struct packet_head h = {.sec = 1, .caplen = 60, .len = 60};
	uint8_t body[60] = {1, 2, 3};

	(void)state;
	block_append(b, &h, body);
	block_publish(b);
	struct slice s = {block_ref(b), 0, b->used, 1};
	grpc_byte_buffer *bytes = wire_packets(&s, 9);
	assert_int_equal(b->refs, 2);
	/* The same memory, not a copy of it. */
	assert_int_equal(bytes->data.raw.slice_buffer.count, 2);
	assert_ptr_equal(
		GRPC_SLICE_START_PTR(bytes->data.raw.slice_buffer.slices[1]),
		b->arena);
	grpc_byte_buffer_destroy(bytes);
	assert_int_equal(b->refs, 1);
	block_unref(b);
	block_pool_unref(pool);
}

static ProtobufCMessage *taken(const void *bytes, size_t n, struct err *e)
{
	grpc_slice slice = grpc_slice_from_copied_buffer(bytes, n);
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
	ProtobufCMessage *m =
		wire_unpack(&pcap__v1__start_request__descriptor, buffer, e);

	grpc_byte_buffer_destroy(buffer);
	grpc_slice_unref(slice);
	return m;
}

static void what_is_no_message_is_refused(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_null(taken("\xff\xff\xff", 3, &e));
	assert_int_equal(e.kind, ERR_USAGE);
	assert_string_equal(
		e.what, "the request is not a pcap.v1.StartRequest message");
	assert_null(taken("\x0a\x05web", 5, &e));
	assert_null(taken("\x0a\x02\xc3\x28", 4, &e));
	assert_string_equal(
		e.what,
		"the field 'name' of pcap.v1.StartRequest is not UTF-8");
	ProtobufCMessage *m = taken("\x0a\x02\xc3\xa9", 4, &e);
	assert_non_null(m);
	assert_string_equal(((Pcap__V1__StartRequest *)m)->name, "é");
	protobuf_c_message_free_unpacked(m, NULL);
}

static void a_message_takes_memory_within_a_bound(void **state)
{
	static uint8_t bytes[3 + 2 * 32000] = "\x0a\x01w";
	struct err e = ERR_INIT;

	(void)state;
	/* A later version's, or somebody's: number 15, which is 0. */
	for (size_t i = 3; i < sizeof(bytes); i += 2)
		bytes[i] = 15 << 3;
	ProtobufCMessage *m = taken(bytes, 3 + 2 * 50, &e);
	assert_non_null(m);
	assert_int_equal(m->n_unknown_fields, 50);
	protobuf_c_message_free_unpacked(m, NULL);
	assert_null(taken(bytes, sizeof(bytes), &e));
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_string_equal(e.what, "the fields of pcap.v1.StartRequest take "
				    "over 144390 bytes of memory");
	/* One that is large is not many. */
	static uint8_t large[4 << 20] = "\x7a\xfb\xff\xff\x01";
	m = taken(large, sizeof(large), &e);
	assert_non_null(m);
	protobuf_c_message_free_unpacked(m, NULL);
}

/* --- captures --- */

static void a_capture_is_told_whole(void **state)
{
	char *aliases[] = {"a", "b"};
	struct capture_view v = {
		.row = {.id = 7,
			.promiscuous = true,
			.interface = "lo",
			.filter = "ip",
			.link_type = 1,
			.snaplen = 96,
			.buffer_bytes = 1 << 20,
			.rings = 4,
			.aliases = aliases,
			.n_aliases = 2},
		.state = CAPTURE_WAITING,
		.totals = {.packets = 1,
			   .raw_bytes = 2,
			   .stored_bytes = 3,
			   .min_ns = 4,
			   .max_ns = 5},
		.live = {.reason = "gone",
			 .received = 6,
			 .dropped_kernel = 7,
			 .dropped_interface = 8,
			 .dropped_memory = 9},
		.writer = {.dropped_disk = 10},
	};
	Pcap__V1__Capture m;

	(void)state;
	wire_capture(&m, &v);
	assert_int_equal(m.id, 7);
	assert_int_equal(m.n_aliases, 2);
	assert_string_equal(m.aliases[1], "b");
	assert_string_equal(m.interface, "lo");
	assert_string_equal(m.filter, "ip");
	assert_int_equal(m.state, PCAP__V1__CAPTURE__STATE__WAITING);
	assert_string_equal(m.waiting_for, "gone");
	assert_true(m.promiscuous && !m.savefile);
	assert_int_equal(m.link_type, 1);
	assert_int_equal(m.snaplen, 96);
	assert_int_equal(m.buffer_bytes, 1 << 20);
	assert_int_equal(m.rings, 4);
	const uint64_t told[] = {m.packets,	     m.raw_bytes,
				 m.stored_bytes,     (uint64_t)m.min_ns,
				 (uint64_t)m.max_ns, m.received,
				 m.dropped_kernel,   m.dropped_interface,
				 m.dropped_memory,   m.dropped_disk};
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(told[i], i + 1);
	v.state = CAPTURE_RUNNING;
	wire_capture(&m, &v);
	assert_string_equal(m.waiting_for, "");
}

static void block_info_has_the_fields_of_its_message(void **state)
{
	static const char *const names[] = {
		"capture",	"seq",	     "segment", "offset",
		"stored_bytes", "raw_bytes", "packets", "first_ns",
		"last_ns",	"min_ns",    "max_ns"};
	const ProtobufCMessageDescriptor *d = &pcap__v1__block_info__descriptor;

	(void)state;
	assert_int_equal(d->n_fields, sizeof(names) / sizeof(names[0]));
	assert_int_equal(sizeof(struct block_info), 8 * d->n_fields);
	for (unsigned i = 0; i < d->n_fields; i++) {
		assert_string_equal(d->fields[i].name, names[i]);
		assert_int_equal(d->fields[i].id, i + 1);
	}
}

/* --- text --- */

/* On the completion-queue thread, where all others wait for it: in a time that
 * grows with the square this would take an hour. */
static void long_text_is_looked_at_once(void **state)
{
	size_t n = 16 << 20;
	char *text = malloc(n + 1);

	(void)state;
	assert_non_null(text);
	memset(text, 'x', n);
	text[n] = '\0';
	assert_true(text_is_utf8(text));
	text_clean(text);
	text[n - 1] = (char)0xc3;
	assert_false(text_is_utf8(text));
	text_clean(text);
	assert_int_equal(text[n - 1], '?');
	free(text);
}

static void utf8_is_told_from_what_is_not(void **state)
{
	static const char *const good[] = {
		"",
		"plain",
		"\xc2\x80",
		"\xdf\xbf",
		"\xe0\xa0\x80",
		"\xed\x9f\xbf",
		"\xee\x80\x80",
		"\xef\xbf\xbf",
		"\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf",
	};
	static const char *const bad[] = {
		"\x80",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc2",
		"\xe0\x9f\xbf",
		"\xed\xa0\x80",
		"\xe1\x80",
		"\xf0\x8f\xbf\xbf",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xff",
		"a\xe2\x82",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(text_is_utf8(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[16];

		assert_false(text_is_utf8(bad[i]));
		strcpy(text, bad[i]);
		text_clean(text);
		assert_true(text_is_utf8(text));
		assert_int_equal(strlen(text), strlen(bad[i]));
	}
}

static void hints_become_printable_ascii(void **state)
{
	char out[32], small[6];

	(void)state;
	text_percent(out, sizeof(out), "100 % é\n");
	assert_string_equal(out, "100 %25 %C3%A9%0A");
	text_percent(small, sizeof(small), "abcdefgh");
	assert_string_equal(small, "abc");
}

/* --- methods --- */

static void has_rows(const ProtobufCServiceDescriptor *d)
{
	for (unsigned i = 0; i < d->n_methods; i++) {
		char path[128];
		int n = snprintf(path, sizeof(path), "/%s/%s", d->name,
				 d->methods[i].name);
		const struct method *m = method_find(path, (size_t)n);

		if (!m)
			fail_msg("no row for %s", path);
		assert_ptr_equal(m->request, d->methods[i].input);
		assert_non_null(m->start);
		assert_int_equal(m->run != NULL,
				 m->start == start_on_worker ||
					 m->start == start_on_thread);
	}
}

static void every_method_of_every_service_has_a_row(void **state)
{
	(void)state;
	has_rows(&pcap__v1__pcap__descriptor);
	has_rows(&grpc__health__v1__health__descriptor);
	has_rows(&grpc__reflection__v1__server_reflection__descriptor);
	has_rows(&grpc__reflection__v1alpha__server_reflection__descriptor);
	assert_int_equal(
		n_methods,
		pcap__v1__pcap__descriptor.n_methods +
			grpc__health__v1__health__descriptor.n_methods +
			2 * grpc__reflection__v1__server_reflection__descriptor
					.n_methods);
	assert_null(method_find("/pcap.v1.Pcap/Versio", 20));
	assert_null(method_find("/pcap.v1.Pcap/Version2", 22));
	assert_null(method_find("", 0));
}

static void same_fields(const ProtobufCMessageDescriptor *a,
			const ProtobufCMessageDescriptor *b)
{
	assert_int_equal(a->n_fields, b->n_fields);
	for (unsigned i = 0; i < a->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &a->fields[i];
		const ProtobufCFieldDescriptor *g = &b->fields[i];

		assert_string_equal(f->name, g->name);
		assert_int_equal(f->id, g->id);
		assert_int_equal(f->label, g->label);
		assert_int_equal(f->type, g->type);
		assert_ptr_equal(f->descriptor, g->descriptor);
	}
}

/* What is made and read as one of them. */
static void answers_that_are_one_on_the_wire_have_the_same_fields(void **state)
{
	static const ProtobufCMessageDescriptor *const changes[] = {
		&pcap__v1__delete_response__descriptor,
		&pcap__v1__add_alias_response__descriptor,
		&pcap__v1__remove_alias_response__descriptor,
		&pcap__v1__release_response__descriptor,
		&pcap__v1__mark_response__descriptor,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
		same_fields(&pcap__v1__set_response__descriptor, changes[i]);
	same_fields(&pcap__v1__start_response__descriptor,
		    &pcap__v1__stop_response__descriptor);
	assert_int_equal(pcap__v1__start_response__descriptor.fields[0].id, 1);
	same_fields(&pcap__v1__replay_response__descriptor,
		    &pcap__v1__listen_response__descriptor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			answers_that_are_one_on_the_wire_have_the_same_fields),
		cmocka_unit_test(packets_decode_at_every_length_of_a_varint),
		cmocka_unit_test(packets_decode_at_every_length_of_their_data),
		cmocka_unit_test(frames_beside_are_announced),
		cmocka_unit_test(packets_are_sent_from_the_block),
		cmocka_unit_test(what_is_no_message_is_refused),
		cmocka_unit_test(a_message_takes_memory_within_a_bound),
		cmocka_unit_test(a_capture_is_told_whole),
		cmocka_unit_test(block_info_has_the_fields_of_its_message),
		cmocka_unit_test(utf8_is_told_from_what_is_not),
		cmocka_unit_test(long_text_is_looked_at_once),
		cmocka_unit_test(hints_become_printable_ascii),
		cmocka_unit_test(every_method_of_every_service_has_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
