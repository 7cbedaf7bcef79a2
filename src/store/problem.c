/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files of the spool that somebody has to look at: what cannot be removed, read
 * or taken in, and what was put aside. Guarantees that a file is named once and
 * for as long as it is there. Leaves out the log, which hears of them as they
 * are found.
 */
#include "store/problem.h"
#include "store/block_compressor.h"
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Of all captures; then the newest takes the place of the oldest. */
#define PROBLEMS_MAX 256

struct problem {
	uint64_t capture;
	int64_t until_ns;
	char file[SEGMENT_NAME_BYTES + 32];
	char what[160];
};

struct problems {
	pthread_mutex_t lock; /* guards everything below */
	struct problem all[PROBLEMS_MAX];
	size_t n;
};

struct problems *problems_new(void)
{
	struct problems *l = calloc(1, sizeof(*l));

	if (l)
		pthread_mutex_init(&l->lock, NULL);
	return l;
}

void problems_free(struct problems *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* With the lock held; l->n: it is not there. */
static size_t problem_find(const struct problems *l, const char *file)
{
	size_t i = 0;

	while (i < l->n && strcmp(l->all[i].file, file) != 0)
		i++;
	return i;
}

static void problem_remove(struct problems *l, size_t i)
{
	memmove(&l->all[i], &l->all[i + 1], (--l->n - i) * sizeof(l->all[0]));
}

void problem_put(struct problems *l, uint64_t capture, const char *file,
		 int64_t until_ns, const char *what)
{
	pthread_mutex_lock(&l->lock);
	size_t i = problem_find(l, file);
	if (i == PROBLEMS_MAX)
		problem_remove(l, 0);
	if (i >= l->n)
		i = l->n++;
	struct problem *p = &l->all[i];
	p->capture = capture;
	p->until_ns = until_ns;
	snprintf(p->file, sizeof(p->file), "%s", file);
	snprintf(p->what, sizeof(p->what), "%s", what);
	pthread_mutex_unlock(&l->lock);
}

/* With the lock held. */
static void problem_forget_old(struct problems *l, int spool_fd)
{
	int64_t now = monotonic_ns();
	struct stat st;

	for (size_t i = l->n; i-- > 0;) {
		bool gone = fstatat(spool_fd, l->all[i].file, &st,
				    AT_SYMLINK_NOFOLLOW) < 0 &&
			    errno == ENOENT;

		if (gone || l->all[i].until_ns < now)
			problem_remove(l, i);
	}
}

size_t store_problems(struct store *s, uint64_t capture,
		      char *lines[STORE_PROBLEMS])
{
	struct problems *l = s->problems;
	size_t n = 0, more = 0;

	pthread_mutex_lock(&l->lock);
	problem_forget_old(l, s->spool_fd);
	for (size_t i = 0; i < l->n; i++) {
		const struct problem *p = &l->all[i];

		if (p->capture != capture)
			continue;
		if (n == STORE_PROBLEMS - 1)
			more++;
		else if (asprintf(&lines[n], "%s: %s", p->file, p->what) >= 0)
			n++;
	}
	pthread_mutex_unlock(&l->lock);
	if (!capture && n < STORE_PROBLEMS - 1 &&
	    block_compressor_differences() &&
	    asprintf(&lines[n],
		     "compressor: %" PRIu64 " frames of pcapd's were not "
		     "their blocks; libzstd compressed these, and all since",
		     block_compressor_differences()) >= 0)
		n++;
	if (more && asprintf(&lines[n], "and %zu more files", more) >= 0)
		n++;
	return n;
}
