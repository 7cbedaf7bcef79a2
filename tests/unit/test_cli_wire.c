/* SPDX-License-Identifier: BSD-3-Clause */
/* The short way through a Packets message, against protobuf-c's. */
#include "client/wire.h"

#include "pcap/v1/pcap.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define DATA_MAX (300u << 10)

struct message {
	Pcap__V1__ReplayResponse stream;
	Pcap__V1__Packets packets;
	uint8_t *bytes;
	size_t n;
};

static uint8_t data[DATA_MAX];

static int set_up(void **state)
{
	(void)state;
	srandom(1);
	for (size_t i = 0; i < DATA_MAX; i++)
		data[i] = (uint8_t)random();
	return 0;
}

static void repack(struct message *m)
{
	m->n = pcap__v1__replay_response__get_packed_size(&m->stream);
	m->bytes = malloc(m->n + 1);
	assert_non_null(m->bytes);
	pcap__v1__replay_response__pack(&m->stream, m->bytes);
}

static void pack(struct message *m, uint64_t count, uint64_t blocks, size_t n)
{
	pcap__v1__replay_response__init(&m->stream);
	pcap__v1__packets__init(&m->packets);
	m->stream.event_case = PCAP__V1__REPLAY_RESPONSE__EVENT_PACKETS;
	m->stream.packets = &m->packets;
	m->packets.count = count;
	m->packets.blocks_done = blocks;
	m->packets.data.data = data;
	m->packets.data.len = n;
	repack(m);
}

static bool front(const struct message *m, struct packets_front *f)
{
	size_t n = m->n < PACKETS_FRONT_MAX ? m->n : PACKETS_FRONT_MAX;

	return packets_front_read(m->bytes, n, m->n, f);
}

static void packets_are_found_where_protobuf_put_them(void **state)
{
	static const uint64_t values[] = {0,	 1,	127,	    128,
					  16383, 16384, 1ull << 35, UINT64_MAX};
	static const size_t lengths[] = {
		0, 1, 2, 100, 127, 128, 16383, 16384, 65536, 262144, DATA_MAX};
	struct packets_front f;

	(void)state;
	for (size_t i = 0; i < LENGTH(values); i++)
		for (size_t j = 0; j < LENGTH(lengths); j++) {
			struct message m;
			pack(&m, values[i], values[LENGTH(values) - 1 - i],
			     lengths[j]);
			assert_true(front(&m, &f));
			assert_int_equal(f.count, m.packets.count);
			assert_int_equal(f.blocks_done, m.packets.blocks_done);
			assert_int_equal(m.n - f.data, lengths[j]);
			assert_memory_equal(m.bytes + f.data, data, lengths[j]);
			free(m.bytes);
		}
}

static void other_events_take_the_long_way(void **state)
{
	Pcap__V1__ReplayResponse s = PCAP__V1__REPLAY_RESPONSE__INIT;
	Pcap__V1__Lost lost = PCAP__V1__LOST__INIT;
	struct packets_front f;
	uint8_t bytes[64] = {0};

	(void)state;
	assert_false(packets_front_read(bytes, 0, 0, &f));
	s.event_case = PCAP__V1__REPLAY_RESPONSE__EVENT_LOST;
	s.lost = &lost;
	lost.packets = 7;
	size_t n = pcap__v1__replay_response__pack(&s, bytes);
	assert_false(packets_front_read(bytes, n, n, &f));
}

static void compressed_packets_say_how_long_they_are(void **state)
{
	struct packets_front f;
	struct message m;

	(void)state;
	pack(&m, 1, 1, 100);
	free(m.bytes);
	m.packets.zstd = true;
	m.packets.raw_bytes = 1000000;
	repack(&m);
	assert_true(front(&m, &f));
	assert_true(f.zstd);
	assert_int_equal(f.raw_bytes, 1000000);
	assert_int_equal(m.n - f.data, 100);
	assert_memory_equal(m.bytes + f.data, data, 100);
	free(m.bytes);
}

static void frames_beside_are_announced(void **state)
{
	struct packets_front f;
	struct message m;

	(void)state;
	pack(&m, UINT64_MAX, UINT64_MAX, 0);
	free(m.bytes);
	m.packets.zstd = true;
	m.packets.raw_bytes = UINT64_MAX;
	m.packets.beside_bytes = UINT64_MAX - 1;
	repack(&m);
	assert_true(m.n <= PACKETS_FRONT_MAX);
	assert_true(front(&m, &f));
	assert_true(f.beside_bytes == UINT64_MAX - 1);
	assert_true(f.raw_bytes == UINT64_MAX);
	assert_int_equal(m.n, f.data);
	free(m.bytes);
}

/* Whatever is taken the short way, protobuf-c reads the same. */
static void broken_bytes_are_never_read_differently(void **state)
{
	(void)state;
	for (int round = 0; round < 200000; round++) {
		struct packets_front f;
		struct message m;
		pack(&m, (uint64_t)random(), (uint64_t)random() % 300,
		     (size_t)random() % 20);
		if (round % 2) {
			free(m.bytes);
			m.packets.zstd = true;
			m.packets.raw_bytes = (uint64_t)random();
			m.packets.beside_bytes = (uint64_t)random() % 2;
			repack(&m);
		}
		m.bytes[(size_t)random() % m.n] = (uint8_t)random();
		bool took = front(&m, &f);
		Pcap__V1__ReplayResponse *s =
			pcap__v1__replay_response__unpack(NULL, m.n, m.bytes);
		if (took) {
			assert_non_null(s);
			assert_int_equal(s->event_case, 4);
			assert_int_equal(s->packets->count, f.count);
			assert_int_equal(s->packets->blocks_done,
					 f.blocks_done);
			assert_int_equal(s->packets->zstd, f.zstd);
			assert_int_equal(s->packets->raw_bytes, f.raw_bytes);
			assert_int_equal(s->packets->beside_bytes,
					 f.beside_bytes);
			assert_int_equal(s->packets->data.len, m.n - f.data);
			if (m.n > f.data)
				assert_memory_equal(s->packets->data.data,
						    m.bytes + f.data,
						    m.n - f.data);
		}
		if (s)
			pcap__v1__replay_response__free_unpacked(s, NULL);
		free(m.bytes);
	}
}

static void hints_are_read_back_as_they_were_written(void **state)
{
	static const struct {
		const char *coded, *plain;
	} rows[] = {
		{"Stop it first: 'pcap stop web'.",
		 "Stop it first: 'pcap stop web'."},
		{"100%25 of %C3%A4", "100% of \xc3\xa4"},
		{"%", "%"},
		{"a%4", "a%4"},
		{"%zz%41", "%zzA"},
		{"", ""},
	};
	char plain[40];

	(void)state;
	for (size_t i = 0; i < LENGTH(rows); i++) {
		percent_read(plain, sizeof(plain), rows[i].coded,
			     strlen(rows[i].coded));
		assert_string_equal(plain, rows[i].plain);
	}
	percent_read(plain, 4, "%41BCDE", 7);
	assert_string_equal(plain, "ABC");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_are_found_where_protobuf_put_them),
		cmocka_unit_test(other_events_take_the_long_way),
		cmocka_unit_test(compressed_packets_say_how_long_they_are),
		cmocka_unit_test(frames_beside_are_announced),
		cmocka_unit_test(hints_are_read_back_as_they_were_written),
		cmocka_unit_test(broken_bytes_are_never_read_differently),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
