/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the few bytes before the data of a Packets message, so that the data
 * need not be unpacked. Guarantees to accept only what protobuf would read the
 * same way; leaves everything unusual to the general decoder.
 */
#include "client/wire.h"

#include "pcap/v1/pcap.pb-c.h"

#include <string.h>

enum { VARINT = 0, BYTES = 2 };

static bool varint_read(const uint8_t *p, size_t n, size_t *at, uint64_t *v)
{
	*v = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (*at >= n)
			return false;
		uint8_t byte = p[(*at)++];
		*v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

/* The key and the length of a field that fills the rest of the message. */
static bool rest_is(const uint8_t *p, size_t n, size_t total, size_t *at,
		    unsigned field)
{
	uint64_t key, length;

	return varint_read(p, n, at, &key) && key == (field << 3 | BYTES) &&
	       varint_read(p, n, at, &length) && length == total - *at;
}

bool packets_front_read(const uint8_t *p, size_t n, size_t total,
			struct packets_front *f)
{
	struct packets_front read = {0};
	size_t at = 0;

	if (!rest_is(p, n, total, &at,
		     PCAP__V1__REPLAY_RESPONSE__EVENT_PACKETS))
		return false;
	while (at < total) {
		size_t field = at;
		uint64_t key, value;

		if (!varint_read(p, n, &at, &key))
			return false;
		if ((key & 7) == BYTES) {
			at = field;
			if (!rest_is(p, n, total, &at, 15))
				return false;
			break;
		}
		if ((key & 7) != VARINT || !varint_read(p, n, &at, &value))
			return false;
		if (key >> 3 == 1)
			read.count = value;
		else if (key >> 3 == 2)
			read.blocks_done = value;
		else if (key >> 3 == 3 && value <= 1)
			read.zstd = value;
		else if (key >> 3 == 4)
			read.raw_bytes = value;
		else if (key >> 3 == 5)
			read.beside_bytes = value;
		else
			return false;
	}
	read.data = at;
	*f = read;
	return true;
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef0123456789ABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)((at - digits) % 16) : -1;
}

void percent_read(char *to, size_t room, const char *from, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < n && at + 1 < room; i++) {
		bool coded = from[i] == '%' && i + 2 < n &&
			     hex_digit(from[i + 1]) >= 0 &&
			     hex_digit(from[i + 2]) >= 0;

		to[at++] = coded ? (char)(hex_digit(from[i + 1]) << 4 |
					  hex_digit(from[i + 2]))
				 : from[i];
		i += coded ? 2 : 0;
	}
	to[at] = '\0';
}
