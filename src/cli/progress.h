/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * progress: one line on a terminal's stderr while work takes over a second.
 */
#ifndef PCAPD_CLI_PROGRESS_H
#define PCAPD_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool wanted, shown;
	int64_t next_ns;
	uint64_t blocks; /* that there are; 0: not known */
};

/* out: where the packets go; not shown when that is a pipe. */
void progress_init(struct progress *p, int out);
void progress_show(struct progress *p, uint64_t packets, uint64_t bytes,
		   uint64_t blocks_done);
/* Erases it. */
void progress_clear(struct progress *p);

#endif
