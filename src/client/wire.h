/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire: the front of a ReplayResponse message. Private to the client.
 */
#ifndef PCAPD_CLIENT_WIRE_H
#define PCAPD_CLIENT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Enough for every field of Packets that comes before its data. */
#define PACKETS_FRONT_MAX 64

struct packets_front {
	uint64_t count;
	uint64_t blocks_done;
	bool zstd;
	uint64_t raw_bytes;
	uint64_t beside_bytes;
	size_t data; /* where the data starts; it goes on to the end */
};

/*
 * p[0, n): the first bytes of a message of `total` bytes. true: it is
 * Packets, the data being the last field. false: anything else,
 * to be unpacked the long way.
 */
bool packets_front_read(const uint8_t *p, size_t n, size_t total,
			struct packets_front *f);

/* Undoes percent-encoding (RFC 3986, 2.1) of the n bytes at from; what is not
 * one stays as it is. to has room for `room` bytes and is terminated. */
void percent_read(char *to, size_t room, const char *from, size_t n);

#endif
