/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * job_pool: threads that do work before it is asked for.
 *
 * What: jobs are posted in the order in which they will be needed, done side by
 * side, and taken back. Who takes a job that is not done does in the meantime
 * what still waits, so that without a thread all of it gets done, too.
 * Threads: its own; the functions from any.
 * Ownership: a job is the poster's, and stays where it is from job_pool_post to
 * job_pool_take or job_pool_drop. What a job is done with, tools, is a thread's
 * own, or of who takes.
 * Limits: the jobs that posters have.
 */
#ifndef PCAPD_BASE_JOB_POOL_H
#define PCAPD_BASE_JOB_POOL_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/queue.h>

struct job_pool;

struct job_pool_job {
	void (*run)(struct job_pool_job *j, void *tools);
	/* The struct job_pool's. */
	enum { JOB_POOL_WAITS, JOB_POOL_RUNS, JOB_POOL_DONE } state;
	STAILQ_ENTRY(job_pool_job) link;
};

struct job_pool_kind {
	const char *what; /* for errors */
	const char *thread_name;
	int nice;		  /* of its threads; setpriority(2) */
	void *(*tools_new)(void); /* NULL: memory is out */
	void (*tools_free)(void *tools);
};

/* kind: static. */
struct job_pool *job_pool_new(const struct job_pool_kind *kind,
			      unsigned threads, struct err *e);
void job_pool_free(struct job_pool *a); /* no job is left; NULL is fine */
unsigned job_pool_threads(const struct job_pool *a);

void job_pool_post(struct job_pool *a, struct job_pool_job *j);
/* Waits until j is done; own: tools of the caller's, to help with. */
void job_pool_take(struct job_pool *a, struct job_pool_job *j, void *own);
/* j is not needed any more. Waits while it runs; true: it is done, false: it
 * was not begun. */
bool job_pool_drop(struct job_pool *a, struct job_pool_job *j);

#endif
