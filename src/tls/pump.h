/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pump: bytes between a link and a socketpair.
 *
 * Threads: it is the thread of its link. Ownership: nothing is kept.
 */
#ifndef PCAPD_TLS_PUMP_H
#define PCAPD_TLS_PUMP_H

#include "tls/link.h"

#include <stddef.h>

/* A socketpair for a pump: [0] for gRPC, [1] is tls_pump's plain. The caller
 * closes both. */
bool tls_pair(int fds[2], struct err *e);
/* Sees what a pump carries, on its thread. */
struct tls_watch {
	/* What came over the link, before it goes on; no bytes: none came for
	 * wait_ms (-1: for ever). false ends the pump at once. */
	bool (*came)(struct tls_watch *w, const uint8_t *bytes, size_t n);
	/* So many bytes leave over the link. */
	void (*left)(struct tls_watch *w, size_t n);
	int wait_ms; /* came may change it */
};
/* Carries bytes both ways until one side has ended. plain does not block.
 * What was written to it before its end has left. w: NULL is fine. */
void tls_pump(struct tls_link *l, int plain, struct tls_watch *w);

#endif
