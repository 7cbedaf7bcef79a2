/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * edit_distance: what was perhaps meant by a word that is not known.
 *
 * Threads: any. Ownership: nothing is kept.
 */
#ifndef PCAPD_BASE_EDIT_DISTANCE_H
#define PCAPD_BASE_EDIT_DISTANCE_H

#include <stdbool.h>

/* Words that are longer are compared with nothing. */
#define EDIT_WORD_MAX 64
#define EDIT_FAR (EDIT_WORD_MAX + 1)

/* Damerau's: letters to add, drop, change, or swap with their neighbour until a
 * is b; EDIT_FAR for a word that is too long. */
unsigned edit_distance(const char *a, const char *b);

/* Whether known is nearer to typed than *best, and so near that it was perhaps
 * meant: then *best is its distance. *best begins as EDIT_FAR. */
bool edit_is_nearer(const char *typed, const char *known, unsigned *best);

#endif
