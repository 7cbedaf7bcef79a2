/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * refusal: what a connection hears that gRPC never has.
 *
 * What: who may not come in is not worth gRPC's memory, and is told why all the
 * same: as little of HTTP/2 as a gRPC client needs to read a status, which is
 * the answer to each of its calls.
 * Threads: one at a time.
 * Ownership: plain memory. What is in out is to be sent, and n_out is the
 * caller's to reset. Nothing is, before the peer has shown that it speaks
 * HTTP/2.
 * Limits: REFUSAL_TAKES bytes of the peer, REFUSAL_CALLS calls.
 */
#ifndef PCAPD_SERVER_REFUSAL_H
#define PCAPD_SERVER_REFUSAL_H

#include "base/err.h"

#include <stdint.h>

#define REFUSAL_TAKES (64u << 10)
#define REFUSAL_CALLS 4u
/* A status in HTTP/2: every byte of struct err's text may become three, and is
 * in the details again. */
#define REFUSAL_STATUS_MAX 5120

struct refusal {
	enum {
		REFUSAL_LINE, /* of pcap proxy, there may be one */
		REFUSAL_PREFACE,
		REFUSAL_FRAMES
	} state;
	unsigned n_preface, n_head;
	uint8_t head[9];
	uint32_t left; /* of a frame */
	uint32_t taken;
	unsigned n_calls; /* that were answered */
	uint8_t status[REFUSAL_STATUS_MAX];
	size_t n_status;
	uint8_t out[2 * REFUSAL_STATUS_MAX];
	size_t n_out;
};

void refusal_init(struct refusal *r, const struct err *why);
/* What the peer sends, in any pieces. false: the connection is not worth more:
 * it is no HTTP/2, or was answered often enough. */
bool refusal_take(struct refusal *r, const uint8_t *bytes, size_t n);

#endif
