/*
 * ahead: threads that do work before it is asked for. Private to this folder.
 *
 * What: jobs are posted in the order in which they will be needed, done side by
 * side, and taken back. Who takes a job that is not done does in the meantime
 * what still waits, so that without a thread all of it gets done, too.
 * Threads: its own; the functions from any.
 * Ownership: a job is the poster's, and stays where it is from ahead_post to
 * ahead_take or ahead_drop. What a job is done with, tools, is a thread's own,
 * or of who takes.
 * Limits: the jobs that posters have.
 */
#ifndef PCAPD_STORE_AHEAD_H
#define PCAPD_STORE_AHEAD_H

#include "base/err.h"

#include <stdbool.h>

struct ahead;

struct ahead_job {
	void (*run)(struct ahead_job *j, void *tools);
	/* The struct ahead's. */
	enum { AHEAD_WAITS, AHEAD_RUNS, AHEAD_DONE } state;
	struct ahead_job *next;
};

struct ahead_kind {
	const char *what; /* for errors */
	const char *thread_name;
	int nice;		  /* of its threads; setpriority(2) */
	void *(*tools_new)(void); /* NULL: memory is out */
	void (*tools_free)(void *tools);
};

/* kind: static. */
struct ahead *ahead_new(const struct ahead_kind *kind, unsigned threads,
			struct err *e);
void ahead_free(struct ahead *a); /* no job is left; NULL is fine */
unsigned ahead_threads(const struct ahead *a);

void ahead_post(struct ahead *a, struct ahead_job *j);
/* Waits until j is done; own: tools of the caller's, to help with. */
void ahead_take(struct ahead *a, struct ahead_job *j, void *own);
/* j is not needed any more. Waits while it runs; true: it is done, false: it
 * was not begun. */
bool ahead_drop(struct ahead *a, struct ahead_job *j);

#endif
