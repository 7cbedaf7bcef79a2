/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink_watch: news of one network interface, from the kernel.
 *
 * What: a netlink socket that becomes readable when interfaces change, and the
 * state of the one that is looked for by name.
 * Threads: one at a time.
 * Ownership: plain memory and a descriptor.
 */
#ifndef PCAPD_CAPTURE_NETLINK_WATCH_H
#define PCAPD_CAPTURE_NETLINK_WATCH_H

#include "base/err.h"

#include <net/if.h>
#include <stdint.h>

struct netlink_watch {
	int fd;
	char name[IFNAMSIZ];
	unsigned index; /* 0: there is none of that name */
	bool up;
};

bool netlink_watch_open(struct netlink_watch *l, const char *name,
			struct err *e);
void netlink_watch_close(
	struct netlink_watch *l); /* without an open it does nothing */

/* Reads what there is, without waiting. true: index or up is not what it was,
 * or was not for a moment. */
bool netlink_watch_read(struct netlink_watch *l);

/* What an interface's packets may be long: its MTU, or what offloads put
 * together; UINT32_MAX: not known. */
uint32_t netlink_watch_packet_max(unsigned index);

#endif
