/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work done ahead. Guarantees that jobs are begun in the order in which they
 * were posted, and that one which is taken has been done, by a thread or by who
 * waits for it. Leaves out what is worth doing ahead, and how much of it:
 * compress_pool.h and cursor.c know.
 */
#include "base/job_pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

struct job_pool {
	const struct job_pool_kind *kind;
	unsigned n_threads;
	pthread_t *threads;
	pthread_mutex_t lock; /* guards everything below, and jobs' state */
	pthread_cond_t posted, done;
	STAILQ_HEAD(, job_pool_job) jobs;
	bool stopping;
};

/* With the lock held, which it lets go of meanwhile. */
static void run_first(struct job_pool *a, void *tools)
{
	struct job_pool_job *j = STAILQ_FIRST(&a->jobs);

	STAILQ_REMOVE_HEAD(&a->jobs, link);
	j->state = JOB_POOL_RUNS;
	pthread_mutex_unlock(&a->lock);
	j->run(j, tools);
	pthread_mutex_lock(&a->lock);
	j->state = JOB_POOL_DONE;
	pthread_cond_broadcast(&a->done);
}

static void *job_pool_main(void *arg)
{
	struct job_pool *a = arg;
	void *tools = a->kind->tools_new();

	pthread_setname_np(pthread_self(), a->kind->thread_name);
	if (a->kind->nice)
		setpriority(PRIO_PROCESS, (id_t)gettid(), a->kind->nice);
	/* Without memory those who take do it all. */
	if (!tools)
		return NULL;
	pthread_mutex_lock(&a->lock);
	while (!a->stopping) {
		if (!STAILQ_EMPTY(&a->jobs))
			run_first(a, tools);
		else
			pthread_cond_wait(&a->posted, &a->lock);
	}
	pthread_mutex_unlock(&a->lock);
	a->kind->tools_free(tools);
	return NULL;
}

struct job_pool *job_pool_new(const struct job_pool_kind *kind,
			      unsigned threads, struct err *e)
{
	struct job_pool *a = calloc(1, sizeof(*a));

	if (a)
		a->threads = calloc(threads + 1, sizeof(*a->threads));
	if (!a || !a->threads) {
		free(a);
		err_set(e, ERR_FAILED, "%s: out of memory", kind->what);
		return NULL;
	}
	a->kind = kind;
	STAILQ_INIT(&a->jobs);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->posted, NULL);
	pthread_cond_init(&a->done, NULL);
	for (; a->n_threads < threads; a->n_threads++) {
		if (pthread_create(&a->threads[a->n_threads], NULL,
				   job_pool_main, a) == 0)
			continue;
		err_set(e, ERR_FAILED, "%s: cannot make a thread", kind->what);
		job_pool_free(a);
		return NULL;
	}
	return a;
}

void job_pool_free(struct job_pool *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	assert(STAILQ_EMPTY(&a->jobs));
	a->stopping = true;
	pthread_cond_broadcast(&a->posted);
	pthread_mutex_unlock(&a->lock);
	for (unsigned i = 0; i < a->n_threads; i++)
		pthread_join(a->threads[i], NULL);
	pthread_cond_destroy(&a->posted);
	pthread_cond_destroy(&a->done);
	pthread_mutex_destroy(&a->lock);
	free(a->threads);
	free(a);
}

unsigned job_pool_threads(const struct job_pool *a)
{
	return a->n_threads;
}

void job_pool_post(struct job_pool *a, struct job_pool_job *j)
{
	j->state = JOB_POOL_WAITS;
	pthread_mutex_lock(&a->lock);
	STAILQ_INSERT_TAIL(&a->jobs, j, link);
	pthread_cond_signal(&a->posted);
	pthread_mutex_unlock(&a->lock);
}

void job_pool_take(struct job_pool *a, struct job_pool_job *j, void *own)
{
	pthread_mutex_lock(&a->lock);
	while (j->state != JOB_POOL_DONE) {
		if (!STAILQ_EMPTY(&a->jobs))
			run_first(a, own);
		else
			pthread_cond_wait(&a->done, &a->lock);
	}
	pthread_mutex_unlock(&a->lock);
}

bool job_pool_drop(struct job_pool *a, struct job_pool_job *j)
{
	pthread_mutex_lock(&a->lock);
	bool begun = j->state != JOB_POOL_WAITS;
	if (!begun)
		STAILQ_REMOVE(&a->jobs, j, job_pool_job, link);
	while (begun && j->state != JOB_POOL_DONE)
		pthread_cond_wait(&a->done, &a->lock);
	pthread_mutex_unlock(&a->lock);
	return begun;
}
