/* SPDX-License-Identifier: BSD-3-Clause */
/* Edit distance, in the restricted form: no letter is moved twice. */
#include "base/edit_distance.h"

#include <string.h>

static unsigned edit_least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned edit_distance(const char *a, const char *b)
{
	unsigned rows[3][EDIT_WORD_MAX + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > EDIT_WORD_MAX || m > EDIT_WORD_MAX)
		return EDIT_FAR;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned *row = rows[i % 3];
		const unsigned *before = rows[(i + 2) % 3];
		const unsigned *older = rows[(i + 1) % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			row[j] = edit_least(
				before[j - 1] + (a[i - 1] != b[j - 1]),
				edit_least(before[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				row[j] = edit_least(row[j], older[j - 2] + 1);
		}
	}
	return rows[n % 3][m];
}

bool edit_is_nearer(const char *typed, const char *known, unsigned *best)
{
	size_t n = strlen(typed);
	/* Two errors in a short word make any other. */
	unsigned most = n < 2 ? 0 : n <= 4 ? 1 : 2;
	unsigned d = edit_distance(typed, known);

	if (n > 1 && strncmp(typed, known, n) == 0)
		d = 0; /* it begins so */
	if (d > most || d >= *best)
		return false;
	*best = d;
	return true;
}
