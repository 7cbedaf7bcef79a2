/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Grows the spool of a pcapd that does not run: see tests/unit/many.h.
 */
#include "many.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	struct many m = {.blocks = 1};
	uint64_t *to[] = {&m.segments, &m.blocks, &m.ledger, &m.imports};

	if (argc < 2 || argc > 6) {
		fputs("bench_spool SPOOL SEGMENTS BLOCKS [ROWS [IMPORTS]]\n",
		      stderr);
		return 2;
	}
	for (int i = 2; i < argc; i++)
		*to[i - 2] = strtoull(argv[i], NULL, 10);
	many_make(argv[1], &m);
	return 0;
}
