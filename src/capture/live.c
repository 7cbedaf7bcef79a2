/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Live captures: one thread moves packets from a source into a fill.
 * Guarantees that the thread waits for nothing but packets, time and
 * capture_stop; that packets are published when a batch ends and blocks are
 * sealed by the clock; that a stop takes what the kernel had accepted by then.
 * It is told of interfaces that go and come back (netlink_watch.h).
 */
#include "capture/capture.h"

#include "capture/block_filler.h"
#include "capture/netlink_watch.h"
#include "capture/own_traffic.h"
#include "capture/source.h"
#include "packet/bpf_compiler.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000ll

/* Packets between two looks at the clock; a busy ring is never empty. */
#define BATCH_PACKETS 1024
/* After an error that no news of the interface will end. */
#define RETRY_NS NS_PER_S
#define STATISTICS_NS NS_PER_S
/* How soon to look again for room in the capture tail, or at a packet that
 * waits. */
#define NO_ROOM_MS 5
/* The kernel hands over a ring block at its second timer tick at the latest. */
#define DRAIN_GRACE_NS (3 * SOURCE_TIMEOUT_MS * NS_PER_MS)
/* What is not handed over by then was not there. */
#define HAND_OVER_NS (5 * SOURCE_TIMEOUT_MS * NS_PER_MS)
/* How long a stop waits for the capture tail to make room, then how long it
 * counts what is left. */
#define DRAIN_ROOM_NS (2 * NS_PER_S)
#define DRAIN_COUNT_NS NS_PER_S
/* A capture tail without room may keep capture_catch_up waiting so long. */
#define CATCH_UP_NS (250 * NS_PER_MS)

struct capture {
	atomic_uint refs;
	struct capture_options options;
	struct capture_tail *tail;
	int wake_fd;
	pthread_t thread;
	/* The thread's. */
	struct source *source;	   /* NULL: waiting for the interface */
	struct bpf_filter *filter; /* NULL: it was not compiled yet */
	int64_t filter_type;	   /* the link type that it is for */
	bool may_compile;	   /* that can take its time */
	struct netlink_watch links;
	bool news;	/* the interface is not what it was */
	unsigned index; /* of the open source's interface; 0: it has none */
	struct block_filler fill;
	int64_t retry_ns, statistics_ns;
	/* CLOCK_REALTIME. The source was well then; 0: not since it was opened.
	 * It went down some time after down_ns; 0: it did not. */
	int64_t well_ns, down_ns;
	int64_t complete_ns;
	int64_t until_ns; /* packets after it came after the stop */
	bool past_stop;
	bool take_anyway; /* also where there is no room: then count it */
	bool closed;	  /* the source takes nothing in any more */
	bool opening;	  /* no packet came yet that is wanted */
	struct own_traffic own;

	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t taken;
	struct capture_status status;
	struct capture_outage outages[CAPTURE_OUTAGES];
	unsigned n_outages;
	struct loss losses[CAPTURE_LOSSES];
	int64_t out_since_ns; /* with status.waiting */
	bool out_told;	      /* it was taken while it went on */
	bool stopping;
	/* What the kernel had accepted when it was asked for (by either clock)
	 * is in the capture tail once sure_ns is as late. */
	int64_t asked_ns, asked_real_ns, sure_ns;
};

/* With lock held. */
static void end_outage(struct capture *c, int64_t now_ns)
{
	struct capture_outage *o = &c->outages[CAPTURE_OUTAGES - 1];

	/* Without room the last one grows over what is between them. */
	if (c->n_outages < CAPTURE_OUTAGES) {
		o = &c->outages[c->n_outages++];
		o->from_ns = c->out_since_ns;
	}
	o->to_ns = now_ns;
	snprintf(o->reason, sizeof(o->reason), "%.100s", c->status.reason);
}

static void show_waiting(struct capture *c, const char *reason, int64_t now)
{
	struct capture_status *s = &c->status;

	pthread_mutex_lock(&c->lock);
	if (s->waiting && (!reason || strcmp(reason, s->reason) != 0)) {
		end_outage(c, now);
		s->waiting = false;
	}
	if (reason && !s->waiting) {
		c->out_since_ns = now;
		c->out_told = false;
	}
	s->waiting = reason;
	snprintf(s->reason, sizeof(s->reason), "%.*s",
		 (int)sizeof(s->reason) - 1, reason ? reason : "");
	pthread_mutex_unlock(&c->lock);
}

static void show_counts(struct capture *c)
{
	pthread_mutex_lock(&c->lock);
	c->status.received = c->fill.received;
	c->status.newest_ns = c->fill.newest_ns;
	c->status.complete_ns = c->complete_ns;
	c->status.looped_ns = monotonic_ns();
	c->status.left_out = c->own.all_left_out;
	pthread_mutex_unlock(&c->lock);
}

static void loss_join(struct loss *to, uint64_t *sum, const struct loss *l)
{
	loss_add(to, l->packets, l->from_ns, l->to_ns);
	*sum += l->packets;
}

/* Before anything newer is published. asked: also what is to be asked for. */
static void live_tell_losses(struct capture *c, bool asked)
{
	struct source_drops d = {0};
	struct loss memory = c->fill.lost;

	if (c->source && asked)
		source_add_drops(c->source, &d);
	else if (c->source)
		source_add_known(c->source, &d);
	if (!d.kernel.packets && !d.interface.packets && !memory.packets)
		return;
	c->fill.lost = (struct loss){0};
	pthread_mutex_lock(&c->lock);
	loss_join(&c->losses[CAPTURE_LOST_KERNEL], &c->status.dropped_kernel,
		  &d.kernel);
	loss_join(&c->losses[CAPTURE_LOST_INTERFACE],
		  &c->status.dropped_interface, &d.interface);
	loss_join(&c->losses[CAPTURE_LOST_MEMORY], &c->status.dropped_memory,
		  &memory);
	pthread_mutex_unlock(&c->lock);
	capture_tail_lost(c->tail);
}

/* An interface may come, or come up, and the kernel will tell. */
static bool worth_waiting(const struct err *e)
{
	return e->kind == ERR_NOT_FOUND || e->kind == ERR_STATE;
}

/* Before every batch, and without one as soon as the set has changed. */
static void live_exclude(struct capture *c)
{
	if (!c->source || c->closed ||
	    !own_traffic_follow(&c->own, c->options.exclude, c->source))
		return;
	pthread_mutex_lock(&c->lock);
	c->status.excluded = c->own.n;
	pthread_mutex_unlock(&c->lock);
}

static bool live_is_wanted(void *ctx)
{
	struct capture *c = ctx;

	pthread_mutex_lock(&c->lock);
	bool wanted = !c->stopping;
	pthread_mutex_unlock(&c->lock);
	return wanted;
}

static bool live_compile(struct capture *c, struct err *e)
{
	struct bpf_filter *f;
	uint32_t link_type;

	if (!capture_probe(&c->options, live_is_wanted, c, &link_type, &f, e))
		return false;
	bpf_filter_free(c->filter);
	c->filter = f;
	c->filter_type = link_type;
	return true;
}

static void try_open(struct capture *c, struct err *e)
{
	bool other_type;

	c->source = source_open(&c->options, c->filter, c->filter_type,
				&other_type, e);
	if (!other_type || !c->may_compile || !live_compile(c, e))
		return;
	c->source = source_open(&c->options, c->filter, c->filter_type,
				&other_type, e);
}

static bool open_source(struct capture *c, struct err *e)
{
	try_open(c, e);
	if (!c->source) {
		c->retry_ns = worth_waiting(e) ? INT64_MAX
					       : monotonic_ns() + RETRY_NS;
		if (!c->may_compile)
			c->retry_ns = 0;
		show_waiting(c, e->what, realtime_ns());
		return false;
	}
	c->index = c->links.index;
	c->closed = false;
	c->opening = true;
	c->down_ns = 0;
	c->well_ns = c->complete_ns = source_listening_ns(c->source);
	uint32_t link_type = source_link_type(c->source);
	block_filler_set_type(&c->fill, link_type, source_snaplen(c->source));
	own_traffic_renew(&c->own);
	live_exclude(c);
	c->statistics_ns = monotonic_ns() + STATISTICS_NS;
	pthread_mutex_lock(&c->lock);
	c->status.link_type = link_type;
	c->status.opened_ns = source_listening_ns(c->source);
	pthread_mutex_unlock(&c->lock);
	show_waiting(c, NULL, source_listening_ns(c->source));
	return true;
}

/* Now it is known, or will not be. */
static void end_wait(struct capture *c)
{
	struct own_traffic *v = &c->own;

	if (v->deferred && !own_traffic_drops(v, &v->head, v->body))
		block_filler_packet(&c->fill, &v->head, v->body);
	v->deferred = false;
	live_tell_losses(c, false);
	block_filler_publish(&c->fill);
}

/* Packets behind that one may be missing: the newest that is there, or one that
 * would have been if it had come. */
static int64_t whole_until(const struct capture *c)
{
	int64_t ns =
		c->fill.newest_ns > c->well_ns ? c->fill.newest_ns : c->well_ns;
	int64_t now = realtime_ns();

	return c->down_ns ? c->down_ns : ns < now ? ns : now;
}

static bool live_take(void *ctx, const struct packet_head *h,
		      const uint8_t *body);

/*
 * What the kernel took in from an interface that is gone, or bears another
 * name now: it hands over the last of it by the clock. A capture tail without
 * room gets none; then it is counted.
 */
static void take_rest(struct capture *c)
{
	int64_t until = monotonic_ns() + DRAIN_GRACE_NS;
	struct err ignored = ERR_INIT;

	source_close_intake(c->source);
	c->closed = true;
	end_wait(c);
	for (;;) {
		c->take_anyway = !block_filler_ready(&c->fill);
		int n = source_take(c->source, BATCH_PACKETS, live_take, c,
				    &ignored);
		end_wait(c);
		if (n > 0)
			continue;
		if (source_drained(c->source) || monotonic_ns() >= until)
			break;
		poll(NULL, 0, NO_ROOM_MS);
	}
	c->take_anyway = false;
	live_tell_losses(c, true);
}

/* error: libpcap's, which does not know what became of the interface. */
static void lose_source(struct capture *c, const char *error)
{
	char reason[CAPTURE_INTERFACE_MAX + 512];

	netlink_watch_read(&c->links);
	if (c->index && !c->links.index)
		error = "the interface is gone";
	else if (c->index && c->links.index != c->index)
		error = "another interface has this name now";
	snprintf(reason, sizeof(reason), "%s: %.500s", c->options.interface,
		 error);
	take_rest(c);
	int64_t since = whole_until(c);
	source_close(c->source);
	c->source = NULL;
	c->down_ns = 0;
	c->retry_ns = c->index && !c->links.index ? INT64_MAX
						  : monotonic_ns() + RETRY_NS;
	c->news = c->index != c->links.index && c->links.index;
	show_waiting(c, reason, since);
}

/* Came before the kernel took in everything: what is missing there is told, so
 * a start is an instant. */
static bool before_start(struct capture *c, const struct packet_head *h)
{
	int64_t ns = packet_time_ns(h);

	c->opening = ns >= source_opened_ns(c->source) &&
		     ns < source_listening_ns(c->source);
	return c->opening;
}

static bool live_take(void *ctx, const struct packet_head *h,
		      const uint8_t *body)
{
	struct capture *c = ctx;

	if (__builtin_expect(c->opening, 0) && before_start(c, h))
		return true;
	if (packet_time_ns(h) > c->until_ns) {
		c->past_stop = true;
		return false;
	}
	if (!own_traffic_drops(&c->own, h, body)) {
		if (own_traffic_waits(&c->own, h, body) &&
		    own_traffic_defer(&c->own, h, body))
			return false;
		block_filler_packet(&c->fill, h, body);
	}
	return block_filler_takes(&c->fill) || c->take_anyway;
}

/* What was taken before the last look came before it went down; of what was
 * taken since then nobody knows. */
static void look_down(struct capture *c)
{
	int64_t now = realtime_ns();

	if (!source_was_down(c->source) || c->down_ns)
		return;
	c->down_ns = c->well_ns < now ? c->well_ns : now;
	c->news = true;
}

/* What a batch of n that was begun then says about everything before it. */
static void live_note(struct capture *c, int n, int64_t begin_ns)
{
	look_down(c);
	if (n > 0)
		c->complete_ns = c->fill.newest_ns;
	else if (n == 0 && !c->own.deferred &&
		 begin_ns - HAND_OVER_NS > c->complete_ns)
		c->complete_ns = begin_ns - HAND_OVER_NS;
	if (n == 0 && !c->down_ns)
		c->well_ns = begin_ns;
	else if (n > 0 && !c->down_ns)
		c->well_ns = c->fill.newest_ns;
}

/* One batch, also an empty one because of a packet that waits. How many
 * packets; -1: there is no source any more. */
static int take_batch(struct capture *c)
{
	const struct own_traffic *v = &c->own;
	struct err e = ERR_INIT;
	int64_t begin = realtime_ns();

	live_exclude(c);
	if (v->deferred) {
		if (own_traffic_waits(v, &v->head, v->body))
			return 0;
		end_wait(c);
		if (!block_filler_takes(&c->fill) && !c->take_anyway)
			return 1;
	}
	int n = source_take(c->source, BATCH_PACKETS, live_take, c, &e);
	live_note(c, n, begin);
	live_tell_losses(c, false);
	block_filler_publish(&c->fill);
	if (n < 0)
		lose_source(c, e.what);
	return n;
}

static int64_t live_least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Somebody waits in capture_catch_up; asked_ns is when to give an answer. */
static bool is_asked(struct capture *c, int64_t *until)
{
	pthread_mutex_lock(&c->lock);
	bool asked = c->asked_ns > c->sure_ns;
	*until = c->asked_ns + DRAIN_GRACE_NS;
	pthread_mutex_unlock(&c->lock);
	return asked;
}

/*
 * After a batch of n. A ring is a queue: a packet that came after the question
 * answers it; on a quiet link the kernel's counts or the clock do.
 */
static void live_answer(struct capture *c, int n)
{
	int64_t until, now = monotonic_ns();

	if (!is_asked(c, &until))
		return;
	bool empty = n <= 0 && !c->own.deferred &&
		     (!c->source || now >= until || source_drained(c->source));
	/* Whoever asks what there is also asks what is missing. */
	live_tell_losses(c, true);
	show_counts(c);
	pthread_mutex_lock(&c->lock);
	if (empty || c->fill.newest_ns > c->asked_real_ns) {
		c->sure_ns = c->asked_ns;
		pthread_cond_broadcast(&c->taken);
	}
	pthread_mutex_unlock(&c->lock);
}

/* ready: a packet would have a place now. */
static int wait_ms(struct capture *c, bool ready, int64_t now)
{
	int64_t until = live_least(
		block_filler_deadline_ns(&c->fill, c->options.block_age_ns),
		c->source ? c->statistics_ns : c->retry_ns);
	int64_t asked_until;

	until = live_least(until, now + CAPTURE_ROUND_NS);
	if (is_asked(c, &asked_until) && !c->own.deferred)
		until = live_least(until, asked_until);
	if (c->source && !ready)
		until = live_least(until, now + NO_ROOM_MS * NS_PER_MS);
	else if (c->source && source_fd(c->source) < 0)
		until = live_least(until, now + SOURCE_TIMEOUT_MS * NS_PER_MS);
	if (until <= now)
		return 0;
	/* Upwards, so as not to spin through the last millisecond. */
	return (int)((until - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* After news of the interface. */
static void live_follow(struct capture *c)
{
	const struct netlink_watch *l = &c->links;
	char down[CAPTURE_INTERFACE_MAX + 32];
	struct err e = ERR_INIT;

	netlink_watch_read(&c->links);
	if (c->source)
		look_down(c);
	c->news = false;
	if (c->source && c->index && c->index != l->index) {
		lose_source(c, "the interface went away");
		if (!l->index)
			return;
	}
	if (!c->source) {
		open_source(c, &e);
		return;
	}
	/* One that is down is not gone: its source stays open. */
	snprintf(down, sizeof(down), "%s: the interface is down",
		 c->options.interface);
	if (!c->index)
		return;
	if (!l->up || c->down_ns) {
		/* Also when it was for a moment, which is over. */
		show_waiting(c, down, whole_until(c));
		c->down_ns = whole_until(c);
	}
	if (l->up) {
		c->well_ns = realtime_ns();
		c->down_ns = 0;
		show_waiting(c, NULL, c->well_ns);
	}
}

/* true: stop. */
static bool wait_for_something(struct capture *c, bool ready)
{
	struct pollfd fds[] = {
		{.fd = c->wake_fd, .events = POLLIN},
		{.fd = c->links.fd, .events = POLLIN},
		{.fd = c->source && ready ? source_fd(c->source) : -1,
		 .events = POLLIN},
	};

	poll(fds, 3, wait_ms(c, ready, monotonic_ns()));
	if (fds[1].revents)
		c->news = netlink_watch_read(&c->links) || c->news;
	if (!fds[0].revents)
		return false;
	eventfd_t ignored;
	eventfd_read(c->wake_fd, &ignored);
	pthread_mutex_lock(&c->lock);
	bool stop = c->stopping;
	pthread_mutex_unlock(&c->lock);
	return stop;
}

/* What is due by the clock. */
static void live_tick(struct capture *c)
{
	int64_t now = monotonic_ns();
	struct err e = ERR_INIT;

	if (now >= block_filler_deadline_ns(&c->fill, c->options.block_age_ns))
		block_filler_seal(&c->fill);
	if (!c->source) {
		c->complete_ns = realtime_ns();
		if (now >= c->retry_ns)
			open_source(c, &e);
	} else if (now >= c->statistics_ns) {
		live_tell_losses(c, true);
		c->statistics_ns = now + STATISTICS_NS;
	}
}

/*
 * After the stop. What the kernel accepted before it may still lie in a ring
 * block that is not handed over yet. On a busy link a packet that came after
 * the stop ends this; on a quiet one the counts or the clock do. A capture tail
 * without room gets some time, then what is left is counted as dropped.
 */
static void live_drain(struct capture *c)
{
	int64_t start = monotonic_ns(), now = start;
	bool all = false;

	while (!all && c->source && !c->past_stop &&
	       now < start + DRAIN_ROOM_NS + DRAIN_COUNT_NS) {
		int wait = NO_ROOM_MS, n = 1;
		bool ready = block_filler_takes(&c->fill);

		if (!block_filler_ready(&c->fill))
			block_filler_seal(&c->fill);
		c->take_anyway = now >= start + DRAIN_ROOM_NS;
		if (ready || c->take_anyway) {
			n = take_batch(c);
			wait = n == 0 ? SOURCE_TIMEOUT_MS : 0;
		}
		bool deferred = c->own.deferred;
		all = n < 0 || (n == 0 && !deferred &&
				(now >= start + DRAIN_GRACE_NS ||
				 source_drained(c->source)));
		struct pollfd fd = {ready && !deferred && c->source
					    ? source_fd(c->source)
					    : -1,
				    POLLIN, 0};
		if (wait && !all)
			poll(&fd, 1, wait);
		now = monotonic_ns();
	}
	/* What there was no time for. */
	if (c->source && !c->past_stop && !all) {
		uint64_t left = source_left(c->source);

		c->fill.dropped += left;
		loss_add(&c->fill.lost, left, whole_until(c), c->until_ns);
	}
}

static void *live_run(void *arg)
{
	struct capture *c = arg;

	pthread_setname_np(pthread_self(), "pcapd-capture");
	c->may_compile = true;
	for (;;) {
		bool ready = c->source && block_filler_takes(&c->fill);
		int n = 0;

		/* Too full for any packet: the writer may need it to make
		 * room. */
		if (c->source && !block_filler_ready(&c->fill))
			block_filler_seal(&c->fill);
		if (wait_for_something(c, ready && !c->own.deferred))
			break;
		if (c->source)
			source_resize(c->source);
		if (ready)
			n = take_batch(c);
		else
			live_exclude(c);
		if (ready || !c->source)
			live_answer(c, n);
		live_tick(c);
		if (c->news)
			live_follow(c);
		show_counts(c);
	}
	c->until_ns = realtime_ns();
	live_drain(c);
	end_wait(c);
	live_tell_losses(c, true);
	block_filler_seal(&c->fill);
	show_counts(c);
	pthread_mutex_lock(&c->lock);
	c->status.stopped_ns = c->until_ns;
	c->sure_ns = INT64_MAX;
	pthread_cond_broadcast(&c->taken);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

struct capture *capture_ref(struct capture *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void capture_unref(struct capture *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	source_close(c->source);
	bpf_filter_free(c->filter);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	netlink_watch_close(&c->links);
	own_traffic_done(&c->own);
	capture_tail_unref(c->tail);
	pthread_cond_destroy(&c->taken);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct capture *capture_start(const struct capture_options *o,
			      struct capture_tail *f, struct err *e)
{
	struct err open = ERR_INIT;
	struct capture *c = calloc(1, sizeof(*c));

	if (!c) {
		err_errno(e, "start %s", o->interface);
		return NULL;
	}
	atomic_init(&c->refs, 1);
	c->options = *o;
	c->filter_type = -1;
	c->may_compile = !bpf_compiler_runs();
	c->tail = capture_tail_ref(f);
	c->until_ns = INT64_MAX;
	block_filler_init(&c->fill, f);
	pthread_mutex_init(&c->lock, NULL);
	cond_init(&c->taken);
	c->wake_fd = eventfd(0, EFD_CLOEXEC);
	c->status.looped_ns = monotonic_ns();
	if (c->wake_fd < 0) {
		err_errno(e, "start %s", o->interface);
		goto fail;
	}
	if (o->program_link_type >= 0 && o->program_bytes) {
		c->filter = bpf_filter_from_program(o->program,
						    o->program_bytes, e);
		if (!c->filter)
			goto fail;
		c->filter_type = o->program_link_type;
	}
	if (!netlink_watch_open(&c->links, o->interface, e))
		goto fail;
	if (!open_source(c, &open) && !worth_waiting(&open)) {
		*e = open;
		goto fail;
	}
	int no = pthread_create(&c->thread, NULL, live_run, c);
	if (no != 0) {
		err_set(e, ERR_FAILED, "start %s: a thread: %s", o->interface,
			strerror(no));
		goto fail;
	}
	return c;
fail:
	capture_unref(c);
	return NULL;
}

void capture_stop(struct capture *c, struct capture_status *s)
{
	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	pthread_mutex_unlock(&c->lock);
	eventfd_write(c->wake_fd, 1);
	pthread_join(c->thread, NULL);
	if (s)
		*s = c->status;
	capture_unref(c);
}

const struct bpf_filter *capture_filter(const struct capture *c,
					int64_t *link_type)
{
	*link_type = c->filter_type;
	return c->filter;
}

void capture_catch_up(struct capture *c)
{
	int64_t now = monotonic_ns(), until = now + CATCH_UP_NS;
	bool late = false;

	pthread_mutex_lock(&c->lock);
	c->asked_ns = now;
	c->asked_real_ns = realtime_ns();
	eventfd_write(c->wake_fd, 1);
	while (c->sure_ns < now && !late)
		late = !cond_wait_until(&c->taken, &c->lock, until);
	pthread_mutex_unlock(&c->lock);
}

void capture_status(struct capture *c, struct capture_status *s)
{
	pthread_mutex_lock(&c->lock);
	*s = c->status;
	pthread_mutex_unlock(&c->lock);
}

uint64_t capture_left_out(struct capture *c, unsigned place, bool forget)
{
	atomic_uint_fast64_t *n = &c->own.left_out[place];

	return forget ? atomic_exchange(n, 0) : atomic_load(n);
}

void capture_exclude(struct capture *c)
{
	eventfd_write(c->wake_fd, 1);
}

void capture_take_losses(struct capture *c, struct loss out[CAPTURE_LOSSES])
{
	pthread_mutex_lock(&c->lock);
	memcpy(out, c->losses, sizeof(c->losses));
	memset(c->losses, 0, sizeof(c->losses));
	pthread_mutex_unlock(&c->lock);
}

unsigned capture_take_outages(struct capture *c,
			      struct capture_outage out[CAPTURE_OUTAGES])
{
	pthread_mutex_lock(&c->lock);
	unsigned n = c->n_outages;
	memcpy(out, c->outages, n * sizeof(*out));
	c->n_outages = 0;
	if (c->status.waiting && !c->out_told && n < CAPTURE_OUTAGES) {
		out[n] = (struct capture_outage){.from_ns = c->out_since_ns,
						 .to_ns = INT64_MAX};
		snprintf(out[n].reason, sizeof(out[n].reason), "%.100s",
			 c->status.reason);
		c->out_told = true;
		n++;
	}
	pthread_mutex_unlock(&c->lock);
	return n;
}
