/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clock: the system's clocks in nanoseconds, and waiting until one of them
 * shows a time.
 *
 * What: CLOCK_MONOTONIC, CLOCK_REALTIME (since 1970) and CLOCK_BOOTTIME, each
 * as one number, clock_gettime(2); condition variables that wait by the first.
 * Threads: any. Errors: none; these clocks are always there.
 */
#ifndef PCAPD_BASE_CLOCK_H
#define PCAPD_BASE_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define NS_PER_S 1000000000ll
#define NS_PER_MS 1000000ll

int64_t monotonic_ns(void);
int64_t realtime_ns(void);
int64_t boottime_ns(void);

/* A condition variable for cond_wait_until; destroyed as any other. */
void cond_init(pthread_cond_t *cond);
/* As pthread_cond_wait(3); false: monotonic_ns() has reached until_ns. */
bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock,
		     int64_t until_ns);

#endif
