/* SPDX-License-Identifier: BSD-3-Clause */
/* The progress line. Guarantees that nothing of it stays on the terminal. */
#include "cli/progress.h"

#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define AFTER_NS NS_PER_S
#define EVERY_NS 200000000ll

void progress_init(struct progress *p, int out)
{
	struct stat st;
	/* Whoever reads a pipe writes to the same terminal, as tcpdump does. */
	bool shared =
		isatty(out) || (fstat(out, &st) == 0 &&
				(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)));

	*p = (struct progress){.wanted = isatty(STDERR_FILENO) && !shared,
			       .next_ns = monotonic_ns() + AFTER_NS};
}

void progress_show(struct progress *p, uint64_t packets, uint64_t bytes,
		   uint64_t blocks_done)
{
	char size[SIZE_TEXT];

	if (!p->wanted || monotonic_ns() < p->next_ns)
		return;
	p->next_ns = monotonic_ns() + EVERY_NS;
	p->shown = true;
	fprintf(stderr, "\r%s, %" PRIu64 " packets", size_text(bytes, size),
		packets);
	if (p->blocks && blocks_done <= p->blocks)
		fprintf(stderr, ", %" PRIu64 "%%",
			100 * blocks_done / p->blocks);
	fputs("\033[K", stderr);
}

void progress_clear(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
