/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vec: arrays that grow, a pointer and a count in whatever they are a part of.
 *
 * What: there is room for the next power of two, so that nobody has to keep how
 * much. An array begins as NULL and 0, and grows by vec_push alone.
 * Ownership: the array is the caller's, to free(). Threads: the caller's.
 */
#ifndef PCAPD_BASE_VEC_H
#define PCAPD_BASE_VEC_H

#include <stddef.h>

/* One element of zeros more: its address, or NULL when memory is out; then the
 * array is as before. all: of the pointer, n: of the count, a size_t. */
#define vec_push(all, n)                                                       \
	((__typeof__(*(all)))vec_push_bytes((all), (n), sizeof(**(all))))
void *vec_push_bytes(void *all, size_t *n, size_t size);

#endif
