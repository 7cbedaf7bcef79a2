/*
 * Compressing ahead. Guarantees that a job that was posted gets done, by a
 * thread of the press or by who waits for it. Leaves out what is worth
 * compressing ahead, and order: writers know.
 */
#include "press.h"

#include "segment.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct press {
	unsigned n_threads;
	pthread_t *threads;
	pthread_mutex_t lock; /* guards everything below, and the jobs' */
	pthread_cond_t posted, done;
	struct press_job *first, **last;
	bool stopping;
};

/* One frame of the whole block. */
static void compress(struct frame *f, struct press_job *j)
{
	const struct block *b = j->block;
	struct err e;

	if (!frame_whole(f, j->level, b->link_type, b->arena, b->used, j->out,
			 &j->n, &e))
		j->n = 0;
}

/* With the lock held, which it lets go of meanwhile. */
static void run_first(struct press *p, struct frame *f)
{
	struct press_job *j = p->first;

	p->first = j->next;
	if (!p->first)
		p->last = &p->first;
	pthread_mutex_unlock(&p->lock);
	compress(f, j);
	pthread_mutex_lock(&p->lock);
	j->done = true;
	pthread_cond_broadcast(&p->done);
}

static void *press_main(void *arg)
{
	struct press *p = arg;
	struct frame *f = frame_new();

	pthread_setname_np(pthread_self(), "pcapd-press");
	/* Without memory the writers do it all. */
	if (!f)
		return NULL;
	pthread_mutex_lock(&p->lock);
	while (!p->stopping) {
		if (p->first)
			run_first(p, f);
		else
			pthread_cond_wait(&p->posted, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	frame_free(f);
	return NULL;
}

struct press *press_new(unsigned threads, struct err *e)
{
	struct press *p = calloc(1, sizeof(*p));

	if (p)
		p->threads = calloc(threads + 1, sizeof(*p->threads));
	if (!p || !p->threads) {
		free(p);
		err_set(e, ERR_FAILED, "compressors: out of memory");
		return NULL;
	}
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->posted, NULL);
	pthread_cond_init(&p->done, NULL);
	for (; p->n_threads < threads; p->n_threads++) {
		if (pthread_create(&p->threads[p->n_threads], NULL, press_main,
				   p) == 0)
			continue;
		err_set(e, ERR_FAILED, "compressors: cannot make a thread");
		press_free(p);
		return NULL;
	}
	return p;
}

void press_free(struct press *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	assert(!p->first);
	p->stopping = true;
	pthread_cond_broadcast(&p->posted);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_cond_destroy(&p->posted);
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->lock);
	free(p->threads);
	free(p);
}

unsigned press_ahead(const struct press *p)
{
	unsigned n = 2 * p->n_threads;

	return n < PRESS_AHEAD ? n : PRESS_AHEAD - 1;
}

bool press_post(struct press *p, struct press_job *j, struct block *block,
		int level)
{
	assert(!j->block);
	if (!j->out && !(j->out = malloc(FRAME_MAX)))
		return false;
	j->block = block;
	j->level = level;
	j->done = false;
	j->next = NULL;
	pthread_mutex_lock(&p->lock);
	*p->last = j;
	p->last = &j->next;
	pthread_cond_signal(&p->posted);
	pthread_mutex_unlock(&p->lock);
	return true;
}

void press_take(struct press *p, struct press_job *j, struct frame *own)
{
	if (!j->block)
		return;
	pthread_mutex_lock(&p->lock);
	while (!j->done) {
		if (p->first)
			run_first(p, own);
		else
			pthread_cond_wait(&p->done, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	block_unref(j->block);
	j->block = NULL;
}

void press_job_done(struct press_job *j)
{
	assert(!j->block);
	free(j->out);
	j->out = NULL;
}
