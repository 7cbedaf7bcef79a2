/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work done ahead: every job that is taken was done once, in the order of
 * posting as far as that can be seen, and none that was dropped before it
 * began.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/job_pool.h"

#include <pthread.h>
#include <stdlib.h>

#define JOBS 1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* everything below */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned begun, tools_given, tools_made, tools_taken;
static bool held; /* jobs that are held wait */

struct counted {
	struct job_pool_job job;
	unsigned runs, turn; /* which one to begin it was */
	bool is_held, ended;
	void *tools;
};

static void *tools_new(void)
{
	void *tools = NULL;

	pthread_mutex_lock(&lock);
	if (tools_made < tools_given) {
		tools_made++;
		tools = malloc(1);
	}
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return tools;
}

static void tools_free(void *tools)
{
	pthread_mutex_lock(&lock);
	tools_taken++;
	pthread_mutex_unlock(&lock);
	free(tools);
}

static const struct job_pool_kind kind = {
	.what = "counters",
	.thread_name = "test-ahead",
	.nice = 1,
	.tools_new = tools_new,
	.tools_free = tools_free,
};

static void run(struct job_pool_job *job, void *tools)
{
	struct counted *j = (void *)job;

	pthread_mutex_lock(&lock);
	j->turn = begun++;
	j->runs++;
	j->tools = tools;
	pthread_cond_broadcast(&changed);
	while (j->is_held && held)
		pthread_cond_wait(&changed, &lock);
	j->ended = true;
	pthread_mutex_unlock(&lock);
}

static struct job_pool *new_ahead(unsigned threads, unsigned tools)
{
	struct err e = ERR_INIT;

	begun = tools_made = tools_taken = 0;
	tools_given = tools;
	held = false;
	struct job_pool *a = job_pool_new(&kind, threads, &e);
	assert_non_null(a);
	assert_int_equal(job_pool_threads(a), threads);
	return a;
}

static void post(struct job_pool *a, struct counted *j)
{
	*j = (struct counted){.job.run = run, .is_held = j->is_held};
	job_pool_post(a, &j->job);
}

static void hold(bool on)
{
	pthread_mutex_lock(&lock);
	held = on;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void wait_until_begun(unsigned n)
{
	pthread_mutex_lock(&lock);
	while (begun < n)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void take_and_drop(unsigned threads, unsigned tools)
{
	static struct counted jobs[JOBS];
	struct job_pool *a = new_ahead(threads, tools);
	unsigned dropped = 0;
	int own;

	for (unsigned i = 0; i < JOBS; i++) {
		post(a, &jobs[i]);
		if (i < 5)
			continue;
		struct counted *j = &jobs[i - 5];
		if (i % 7 == 0) {
			bool done = job_pool_drop(a, &j->job);
			assert_int_equal(j->runs, done);
			dropped += !done;
		} else {
			job_pool_take(a, &j->job, &own);
			assert_int_equal(j->runs, 1);
			assert_true(tools || j->tools == &own);
		}
	}
	for (unsigned i = JOBS - 5; i < JOBS; i++)
		job_pool_take(a, &jobs[i].job, &own);
	job_pool_free(a);
	assert_int_equal(begun + dropped, JOBS);
	assert_int_equal(tools_made, tools_taken);
}

static void jobs_are_done_once_or_dropped(void **state)
{
	(void)state;
	take_and_drop(0, 0);
	take_and_drop(1, 1);
	take_and_drop(3, 3);
}

static void who_takes_does_it_when_threads_have_no_memory(void **state)
{
	(void)state;
	take_and_drop(3, 0);
	take_and_drop(3, 1);
}

static void jobs_are_begun_in_the_order_in_which_they_were_posted(void **state)
{
	struct counted jobs[8] = {0};
	struct job_pool *a = new_ahead(0, 0);
	int own;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		post(a, &jobs[i]);
	job_pool_take(a, &jobs[7].job, &own);
	for (unsigned i = 0; i < 8; i++) {
		job_pool_take(a, &jobs[i].job, &own);
		assert_int_equal(jobs[i].turn, i);
	}
	job_pool_free(a);
}

static void *let_go(void *arg)
{
	(void)arg;
	hold(false);
	return NULL;
}

/* From the middle of those that wait, and from the end. */
static void what_was_not_begun_is_dropped_and_what_runs_is_waited_for(void **s)
{
	struct counted jobs[5] = {{.is_held = true}};
	struct job_pool *a = new_ahead(1, 1);
	pthread_t thread;
	int own;

	(void)s;
	held = true;
	for (unsigned i = 0; i < 5; i++)
		post(a, &jobs[i]);
	wait_until_begun(1);
	assert_false(job_pool_drop(a, &jobs[2].job));
	assert_false(job_pool_drop(a, &jobs[4].job));
	post(a, &jobs[4]);
	assert_false(job_pool_drop(a, &jobs[1].job));
	assert_int_equal(pthread_create(&thread, NULL, let_go, NULL), 0);
	assert_true(job_pool_drop(a, &jobs[0].job));
	pthread_mutex_lock(&lock);
	assert_true(jobs[0].ended);
	pthread_mutex_unlock(&lock);
	pthread_join(thread, NULL);
	job_pool_take(a, &jobs[4].job, &own);
	job_pool_take(a, &jobs[3].job, &own);
	assert_int_equal(jobs[0].runs + jobs[3].runs + jobs[4].runs, 3);
	assert_int_equal(jobs[1].runs + jobs[2].runs, 0);
	job_pool_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_are_done_once_or_dropped),
		cmocka_unit_test(who_takes_does_it_when_threads_have_no_memory),
		cmocka_unit_test(
			jobs_are_begun_in_the_order_in_which_they_were_posted),
		cmocka_unit_test(
			what_was_not_begun_is_dropped_and_what_runs_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
