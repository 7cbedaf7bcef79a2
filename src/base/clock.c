/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clocks and timed waits. Guarantees that a wait is not shortened or extended
 * by a step of the wall clock.
 */
#include "base/clock.h"

#include <time.h>

static int64_t clock_read(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

int64_t monotonic_ns(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

int64_t realtime_ns(void)
{
	return clock_read(CLOCK_REALTIME);
}

int64_t boottime_ns(void)
{
	return clock_read(CLOCK_BOOTTIME);
}

void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock,
		     int64_t until_ns)
{
	struct timespec until = {until_ns / NS_PER_S, until_ns % NS_PER_S};

	return pthread_cond_timedwait(cond, lock, &until) == 0;
}
