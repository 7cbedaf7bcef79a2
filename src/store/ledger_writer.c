/*
 * The keeper's thread. Guarantees that rows are written in the order in which
 * they were added, and that a disk that says no loses none of them for hours.
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

struct keeper {
	struct store *store;
	bool (*look)(void *ctx, struct clocks now);
	void *ctx;
	int wake_fd, clock_fd;
	bool failing; /* the thread's: it was logged */
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
static bool put_to_like(struct keeper *k, const struct ledger_row *row)
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

static void put(struct keeper *k, const struct ledger_row *row)
{
	if (k->n > k->busy && ledger_joins(&k->rows[k->n - 1], row)) {
		k->rows[k->n - 1].to_ns = row->to_ns;
		k->rows[k->n - 1].packets += row->packets;
		return;
	}
	/* A disk that says no for long. */
	if (k->n >= KEEPER_ROWS / 2 && put_to_like(k, row))
		return;
	if (k->n == KEEPER_ROWS) {
		log_warn("the ledger cannot be written: its oldest row that "
			 "waits is given up");
		memmove(k->rows, k->rows + 1, --k->n * sizeof(*row));
		k->busy -= k->busy > 0;
	}
	k->rows[k->n++] = *row;
}

void keeper_add(struct keeper *k, const struct ledger_row *rows, size_t n)
{
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < n; i++)
		put(k, &rows[i]);
	pthread_mutex_unlock(&k->lock);
}

static void write_rows(struct keeper *k)
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
	if (!ok && !k->failing)
		log_err(LOG_LEVEL_WARN, &e);
	k->failing = !ok;
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
static void arm(struct keeper *k)
{
	struct itimerspec never = {.it_value.tv_sec = INT64_MAX / NS_PER_S};

	if (timerfd_settime(k->clock_fd,
			    TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never,
			    NULL) < 0 &&
	    errno != ECANCELED)
		log_warn("watch the clock: %s", strerror(errno));
}

static void wait_for_news(struct keeper *k)
{
	struct pollfd fds[] = {{.fd = k->wake_fd, .events = POLLIN},
			       {.fd = k->clock_fd, .events = POLLIN}};
	uint64_t ignored;

	poll(fds, 2, LOOK_MS);
	if (fds[0].revents && read(k->wake_fd, &ignored, sizeof(ignored)) < 0)
		log_warn("keeper: %s", strerror(errno));
	if (fds[1].revents &&
	    read(k->clock_fd, &ignored, sizeof(ignored)) < 0 &&
	    errno == ECANCELED)
		arm(k);
}

static void *keeper_main(void *arg)
{
	struct keeper *k = arg;
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

void keeper_catch_up(struct keeper *k)
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

int64_t keeper_well_ns(struct keeper *k)
{
	pthread_mutex_lock(&k->lock);
	int64_t ns = k->well_ns;
	pthread_mutex_unlock(&k->lock);
	return ns;
}

static void keeper_free(struct keeper *k)
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
static void keeper_offer(struct store *s, struct keeper *k)
{
	pthread_mutex_lock(&s->lock);
	s->keeper = k;
	pthread_mutex_unlock(&s->lock);
}

void store_tell(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	struct keeper *k = s->keeper;
	pthread_mutex_unlock(&s->lock);
	if (k)
		keeper_catch_up(k);
}

size_t keeper_rows(struct store *s, uint64_t capture, struct ledger_row *rows,
		   size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	struct keeper *k = s->keeper;
	pthread_mutex_unlock(&s->lock);
	if (!k)
		return 0;
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < k->n && n < max; i++)
		if (k->rows[i].capture == capture)
			rows[n++] = k->rows[i];
	pthread_mutex_unlock(&k->lock);
	return n;
}

struct keeper *keeper_start(struct store *s,
			    bool (*look)(void *ctx, struct clocks now),
			    void *ctx, struct err *e)
{
	struct keeper *k = calloc(1, sizeof(*k));

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
	k->rows = malloc(KEEPER_ROWS * sizeof(*k->rows));
	if (k->wake_fd < 0 || k->clock_fd < 0 || !k->rows)
		goto fail;
	arm(k);
	errno = pthread_create(&k->thread, NULL, keeper_main, k);
	if (errno)
		goto fail;
	keeper_offer(s, k);
	return k;
fail:
	err_errno(e, "keep the ledger");
	keeper_free(k);
	return NULL;
}

void keeper_stop(struct keeper *k)
{
	if (!k)
		return;
	keeper_offer(k->store, NULL);
	pthread_mutex_lock(&k->lock);
	k->stopping = true;
	pthread_mutex_unlock(&k->lock);
	eventfd_write(k->wake_fd, 1);
	pthread_join(k->thread, NULL);
	keeper_free(k);
}
