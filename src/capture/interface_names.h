/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * interface_names: which number the kernel gave to which network interface.
 *
 * What: a netlink socket that hears of each interface that comes or is renamed,
 * also of one that is gone again before anybody looks.
 * Threads: one at a time.
 * Ownership: plain memory and a descriptor; lists are to free().
 */
#ifndef PCAPD_CAPTURE_INTERFACE_NAMES_H
#define PCAPD_CAPTURE_INTERFACE_NAMES_H

#include "base/err.h"

#include <net/if.h>
#include <stdint.h>

struct interface_name {
	uint32_t index;
	char name[IF_NAMESIZE];
	int64_t since_ns;
};

struct interface_names {
	int fd;
};

bool interface_names_open(struct interface_names *n, struct err *e);
void interface_names_close(struct interface_names *n);
/* What came or was renamed since the last call, without waiting: how many, at
 * most `room`; with `room` of them call again. *missed: the kernel had no room
 * for all, ask for interface_names_all. */
size_t interface_names_news(struct interface_names *n,
			    struct interface_name *out, size_t room,
			    bool *missed);
/* All that there are now: an array. NULL: it cannot be told. */
struct interface_name *interface_names_all(size_t *n);

#endif
