/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ledger writer's thread. Guarantees that rows are written in the order in
 * which they were added, and that a disk that says no loses none of them for
 * hours.
 */
#include "store/ledger_writer.h"
#include "store/store_internal.h"

#include "base/log.h"
#include "packet/capture_tail.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 1000
#define PATIENCE_NS (2 * NS_PER_S)

struct ledger_writer {
	struct store *store;
	bool (*look)(void *ctx, struct clocks now);
	void *ctx;
	int wake_fd, clock_fd;
	atomic_bool failing; /* it was logged */
	pthread_t thread;
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t written;
	struct ledger_row *rows;
	size_t n, busy; /* the first ones are being written */
	uint64_t asked, answered;
	bool stopping;
	int64_t well_ns;
};

/* --- rows that wait --- */

/* Joins it to one that waits, over what is between. false: there is none. */
static bool put_to_like(struct ledger_writer *k, const struct ledger_row *row)
{
	for (size_t i = k->n; i-- > k->busy;) {
		struct ledger_row *r = &k->rows[i];

		if (r->capture != row->capture || r->cause != row->cause)
			continue;
		if (!ledger_is_like(r, row))
			return false;
		if (row->to_ns > r->to_ns)
			r->to_ns = row->to_ns;
		r->packets += row->packets;
		return true;
	}
	return false;
}

static void ledger_writer_put(struct ledger_writer *k,
			      const struct ledger_row *row)
{
	if (k->n > k->busy && ledger_joins(&k->rows[k->n - 1], row)) {
		k->rows[k->n - 1].to_ns = row->to_ns;
		k->rows[k->n - 1].packets += row->packets;
		return;
	}
	/* A disk that says no for long. */
	if (k->n >= LEDGER_WRITER_ROWS / 2 && put_to_like(k, row))
		return;
	if (k->n == LEDGER_WRITER_ROWS) {
		log_warn("the ledger cannot be written: its oldest row that "
			 "waits is given up");
		memmove(k->rows, k->rows + 1, --k->n * sizeof(*row));
		k->busy -= k->busy > 0;
	}
	k->rows[k->n++] = *row;
}

void ledger_writer_add(struct ledger_writer *k, const struct ledger_row *rows,
		       size_t n)
{
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < n; i++)
		ledger_writer_put(k, &rows[i]);
	pthread_mutex_unlock(&k->lock);
}

static void write_rows(struct ledger_writer *k)
{
	struct err e = ERR_INIT;

	pthread_mutex_lock(&k->lock);
	size_t n = k->n;
	struct ledger_row *copy = n ? malloc(n * sizeof(*copy)) : NULL;
	if (copy) {
		memcpy(copy, k->rows, n * sizeof(*copy));
		k->busy = n;
	}
	pthread_mutex_unlock(&k->lock);
	if (!copy)
		return;
	bool ok = ledger_add(k->store, copy, n, &e);
	if (!ok && !atomic_load(&k->failing))
		log_err(LOG_LEVEL_WARN, &e);
	atomic_store(&k->failing, !ok);
	free(copy);
	pthread_mutex_lock(&k->lock);
	if (ok) {
		k->n -= k->busy;
		memmove(k->rows, k->rows + k->busy, k->n * sizeof(*k->rows));
	}
	k->busy = 0;
	pthread_mutex_unlock(&k->lock);
}

/* --- the thread --- */

/* Wakes up when somebody sets the clock. */
static void ledger_writer_arm(struct ledger_writer *k)
{
	struct itimerspec never = {.it_value.tv_sec = INT64_MAX / NS_PER_S};

	if (timerfd_settime(k->clock_fd,
			    TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never,
			    NULL) < 0 &&
	    errno != ECANCELED)
		log_warn("watch the clock: %s", strerror(errno));
}

static void wait_for_news(struct ledger_writer *k)
{
	struct pollfd fds[] = {{.fd = k->wake_fd, .events = POLLIN},
			       {.fd = k->clock_fd, .events = POLLIN}};
	uint64_t ignored;

	poll(fds, 2, LOOK_MS);
	if (fds[0].revents && read(k->wake_fd, &ignored, sizeof(ignored)) < 0)
		log_warn("ledger writer: %s", strerror(errno));
	if (fds[1].revents &&
	    read(k->clock_fd, &ignored, sizeof(ignored)) < 0 &&
	    errno == ECANCELED)
		ledger_writer_arm(k);
}

static void *ledger_writer_main(void *arg)
{
	struct ledger_writer *k = arg;
	bool stopping = false;

	pthread_setname_np(pthread_self(), "pcapd-ledger");
	while (!stopping) {
		wait_for_news(k);
		pthread_mutex_lock(&k->lock);
		uint64_t asked = k->asked;
		stopping = k->stopping;
		pthread_mutex_unlock(&k->lock);
		bool well = k->look(k->ctx, clocks_now());
		write_rows(k);
		pthread_mutex_lock(&k->lock);
		k->answered = asked;
		if (well)
			k->well_ns = monotonic_ns();
		pthread_cond_broadcast(&k->written);
		pthread_mutex_unlock(&k->lock);
	}
	return NULL;
}

void ledger_writer_catch_up(struct ledger_writer *k)
{
	int64_t until = monotonic_ns() + PATIENCE_NS;
	bool late = false;

	pthread_mutex_lock(&k->lock);
	uint64_t mine = ++k->asked;
	eventfd_write(k->wake_fd, 1);
	while (k->answered < mine && !late)
		late = !cond_wait_until(&k->written, &k->lock, until);
	pthread_mutex_unlock(&k->lock);
}

int64_t ledger_writer_well_ns(struct ledger_writer *k)
{
	pthread_mutex_lock(&k->lock);
	int64_t ns = k->well_ns;
	pthread_mutex_unlock(&k->lock);
	return ns;
}

static void ledger_writer_free(struct ledger_writer *k)
{
	if (k->wake_fd >= 0)
		close(k->wake_fd);
	if (k->clock_fd >= 0)
		close(k->clock_fd);
	pthread_cond_destroy(&k->written);
	pthread_mutex_destroy(&k->lock);
	free(k->rows);
	free(k);
}

/* Writers find it there. */
static void ledger_writer_offer(struct store *s, struct ledger_writer *k)
{
	pthread_mutex_lock(&s->lock);
	s->ledger_writer = k;
	pthread_mutex_unlock(&s->lock);
}

static struct ledger_writer *ledger_writer_of(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	struct ledger_writer *k = s->ledger_writer;
	pthread_mutex_unlock(&s->lock);
	return k;
}

void store_tell(struct store *s)
{
	struct ledger_writer *k = ledger_writer_of(s);

	if (k)
		ledger_writer_catch_up(k);
}

bool ledger_writer_fails(struct store *s)
{
	struct ledger_writer *k = ledger_writer_of(s);

	return k && atomic_load(&k->failing);
}

size_t ledger_writer_rows(struct store *s, uint64_t capture,
			  struct ledger_row *rows, size_t max)
{
	struct ledger_writer *k = ledger_writer_of(s);
	size_t n = 0;

	if (!k)
		return 0;
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < k->n && n < max; i++)
		if (k->rows[i].capture == capture)
			rows[n++] = k->rows[i];
	pthread_mutex_unlock(&k->lock);
	return n;
}

struct ledger_writer *
ledger_writer_start(struct store *s, bool (*look)(void *ctx, struct clocks now),
		    void *ctx, struct err *e)
{
	struct ledger_writer *k = calloc(1, sizeof(*k));

	if (!k) {
		err_errno(e, "keep the ledger");
		return NULL;
	}
	k->store = s;
	k->look = look;
	k->ctx = ctx;
	k->well_ns = monotonic_ns();
	pthread_mutex_init(&k->lock, NULL);
	cond_init(&k->written);
	k->wake_fd = eventfd(0, EFD_CLOEXEC);
	k->clock_fd =
		timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	k->rows = malloc(LEDGER_WRITER_ROWS * sizeof(*k->rows));
	if (k->wake_fd < 0 || k->clock_fd < 0 || !k->rows)
		goto fail;
	ledger_writer_arm(k);
	errno = pthread_create(&k->thread, NULL, ledger_writer_main, k);
	if (errno)
		goto fail;
	ledger_writer_offer(s, k);
	return k;
fail:
	err_errno(e, "keep the ledger");
	ledger_writer_free(k);
	return NULL;
}

void ledger_writer_stop(struct ledger_writer *k)
{
	if (!k)
		return;
	ledger_writer_offer(k->store, NULL);
	pthread_mutex_lock(&k->lock);
	k->stopping = true;
	pthread_mutex_unlock(&k->lock);
	eventfd_write(k->wake_fd, 1);
	pthread_join(k->thread, NULL);
	ledger_writer_free(k);
}
