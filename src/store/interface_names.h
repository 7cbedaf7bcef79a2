/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * interface_names: what interfaces were called, for captures whose packets have
 * only their numbers.
 *
 * Threads: as store.h.
 * Ownership: lists are copied, or to free().
 * Limits: STORE_INTERFACE_NAMES_MAX a capture; then the oldest go.
 */
#ifndef PCAPD_STORE_INTERFACE_NAMES_H
#define PCAPD_STORE_INTERFACE_NAMES_H

#include "store/store.h"

#define STORE_INTERFACE_NAMES_MAX 16384
#define NAME_BYTES 16 /* IF_NAMESIZE */

struct store_name {
	uint32_t index;
	char name[NAME_BYTES];
	int64_t since_ns;
};

/* Adds those that are new. Does not wait; what cannot be written is said in
 * the log. */
void store_interface_names_add(struct store *s, uint64_t capture,
			       const struct store_name *v, size_t n);
/* The newest at most max, oldest first. */
bool store_interface_names_list(struct store *s, uint64_t capture, size_t max,
				struct store_name **v, size_t *n,
				struct err *e);

#endif
