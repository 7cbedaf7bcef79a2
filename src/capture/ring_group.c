/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several rings, merged by time, and rings in the place of others. Guarantees
 * that a packet waits only while an older one may still come from another ring,
 * and never longer than RING_GROUP_REORDER_NS; that a ring is closed only after
 * the kernel was told to use others, and all that it had was taken. Leaves out
 * the rings themselves.
 */
#include "capture/ring_group.h"

#include "base/log.h"
#include "capture/bpf_exclude.h"
#include "capture/ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* The kernel hands over a ring's block at its second timer tick at the latest.
 */
#define RING_GROUP_REORDER_NS (3 * SOURCE_TIMEOUT_MS * 1000000ll)
/* Large rings without a filled block for so long are too large. */
#define RING_GROUP_QUIET_NS (600 * NS_PER_S)
/* After one that failed. */
#define RING_GROUP_RETRY_NS (10 * NS_PER_S)

struct ring_group_input {
	struct ring *ring;
	bool has_head;
	int64_t head_ns; /* of its next packet */
	bool sure;	 /* the kernel keeps none that is older */
	bool armed;	 /* in epoll, while it has nothing */
};

/* Rings are being replaced: what is done about it now. But for the third, by
 * the thread. */
enum ring_group_state {
	RING_GROUP_STEADY,
	RING_GROUP_OPENING,   /* next is made, and joins the group */
	RING_GROUP_SWITCHING, /* the kernel is told to use the last ones */
	RING_GROUP_DRAINING,  /* what the first ones have is taken */
	RING_GROUP_CLOSING,   /* gone is closed */
};

struct ring_group {
	const struct capture_options *options;
	unsigned rings; /* that packets are spread over */
	/* In the order in which they joined the group: those that it has, and
	 * then those that it will have. */
	unsigned n;
	struct ring_group_input *inputs[2 * CAPTURE_RINGS_MAX];
	/* With several: readable when a ring that had nothing has something, or
	 * when what waits need not wait any longer. */
	int epoll_fd, timer_fd;
	/* Of all rings, those that are closed too. */
	struct source_drops lost;
	uint64_t interface_drops;
	struct reading interface_counted;

	bool small;    /* the rings that packets come to from now on */
	bool one_size; /* they stay as they are */
	int64_t busy_ns, retry_ns;
	enum ring_group_state state;
	struct ring_group_input *next[CAPTURE_RINGS_MAX],
		*gone[CAPTURE_RINGS_MAX];
	pthread_t thread;
	bool joinable;
	atomic_bool done;
	int error; /* errno of what the thread did; 0: it is done */
};

/* --- inputs --- */

static void input_close(struct ring_group_input *l)
{
	if (!l)
		return;
	ring_close(l->ring);
	free(l);
}

static void inputs_close(struct ring_group_input **inputs)
{
	for (unsigned i = 0; i < CAPTURE_RINGS_MAX; i++) {
		input_close(inputs[i]);
		inputs[i] = NULL;
	}
}

static uint64_t ring_group_large_bytes(const struct ring_group *f)
{
	return f->options->buffer_bytes / f->rings;
}

/* Who asks for more room has more of it at first, too. */
static uint64_t ring_group_small_bytes(const struct ring_group *f)
{
	uint64_t part = ring_group_large_bytes(f) / 16;

	return part > RING_SMALL_MIN ? part : RING_SMALL_MIN;
}

/* They join the group of first; NULL: they make one. */
static bool ring_group_open_inputs(const struct ring_group *f, bool small,
				   const struct ring *first,
				   struct ring_group_input **inputs)
{
	for (unsigned i = 0; i < f->rings; i++) {
		struct ring_group_input *l = inputs[i] = calloc(1, sizeof(*l));

		if (!l)
			return false;
		l->ring = ring_open(f->options,
				    small ? ring_group_small_bytes(f)
					  : ring_group_large_bytes(f),
				    small);
		if (!l->ring || !ring_join(l->ring, first))
			return false;
		first = first ? first : l->ring;
	}
	return true;
}

static bool ring_group_arm(struct ring_group *f, struct ring_group_input *l,
			   int how)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT,
				 .data.ptr = l};

	l->armed = true;
	return epoll_ctl(f->epoll_fd, how, ring_fd(l->ring), &ev) == 0;
}

static bool ring_group_poll_begin(struct ring_group *f)
{
	struct epoll_event timer = {.events = EPOLLIN};

	f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	f->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	return f->epoll_fd >= 0 && f->timer_fd >= 0 &&
	       epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, f->timer_fd, &timer) == 0;
}

static void ring_group_poll_end(struct ring_group *f)
{
	if (f->epoll_fd >= 0)
		close(f->epoll_fd);
	if (f->timer_fd >= 0)
		close(f->timer_fd);
	f->epoll_fd = f->timer_fd = -1;
}

/* Behind those that are there, or none of them. */
static bool ring_group_add(struct ring_group *f,
			   struct ring_group_input **inputs)
{
	bool several = f->n + f->rings > 1, first = f->epoll_fd < 0;
	bool ok = !several || !first || ring_group_poll_begin(f);

	for (unsigned i = 0; i < f->n && ok && first; i++)
		ok = ring_group_arm(f, f->inputs[i], EPOLL_CTL_ADD);
	for (unsigned i = 0; i < f->rings && ok && several; i++)
		ok = ring_group_arm(f, inputs[i], EPOLL_CTL_ADD);
	for (unsigned i = 0; i < f->rings && ok; i++) {
		f->inputs[f->n++] = inputs[i];
		inputs[i] = NULL;
	}
	if (!ok && first)
		ring_group_poll_end(f);
	return ok;
}

/* Those from first on: what they have is taken, or they have nothing. */
static void ring_group_remove(struct ring_group *f, unsigned first)
{
	for (unsigned i = 0; i < f->rings; i++) {
		struct ring_group_input *l = f->inputs[first + i];

		ring_add_drops(l->ring, &f->lost.kernel);
		if (f->epoll_fd >= 0)
			epoll_ctl(f->epoll_fd, EPOLL_CTL_DEL, ring_fd(l->ring),
				  NULL);
		f->gone[i] = l;
	}
	f->n -= f->rings;
	memmove(f->inputs + first, f->inputs + first + f->rings,
		(f->n - first) * sizeof(*f->inputs));
	if (f->n == 1)
		ring_group_poll_end(f);
}

/* As libpcap: what the device had no room for. */
static uint64_t ring_group_interface_drops(const struct ring_group *f)
{
	static const char *const names[] = {"rx_missed_errors",
					    "rx_fifo_errors"};
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char path[CAPTURE_INTERFACE_MAX + 64];
		unsigned long long n;

		snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s",
			 f->options->interface, names[i]);
		FILE *file = fopen(path, "re");
		if (!file)
			continue;
		if (fscanf(file, "%llu", &n) == 1)
			sum += n;
		fclose(file);
	}
	return sum;
}

struct ring_group *ring_group_open(const struct capture_options *o,
				   const struct bpf_filter *filter,
				   int64_t *opened_ns)
{
	struct ring_group *f = calloc(1, sizeof(*f));
	bool ok = f;

	if (!f)
		return NULL;
	f->options = o;
	f->rings = o->rings ? o->rings : 1;
	f->epoll_fd = f->timer_fd = -1;
	f->small = o->quiet_ns >= 0 &&
		   ring_group_large_bytes(f) > ring_group_small_bytes(f) &&
		   ring_may_be_small(o);
	f->one_size = !f->small;
	ok = ring_group_open_inputs(f, f->small, NULL, f->next) &&
	     ring_choose(f->next[0]->ring, 0, f->rings) &&
	     ring_group_add(f, f->next);
	*opened_ns = realtime_ns();
	f->interface_drops = ring_group_interface_drops(f);
	reading_add(&f->interface_counted, &f->lost.interface, 0, 0);
	for (unsigned i = 0; ok && i < f->n; i++)
		ok = ring_listen(f->inputs[i]->ring, filter->program.bf_insns,
				 filter->program.bf_len);
	if (ok)
		return f;
	ring_group_close(f);
	return NULL;
}

static void ring_group_join(struct ring_group *f)
{
	if (f->joinable)
		pthread_join(f->thread, NULL);
	f->joinable = false;
}

void ring_group_close(struct ring_group *f)
{
	if (!f)
		return;
	ring_group_join(f);
	for (unsigned i = 0; i < f->n; i++)
		input_close(f->inputs[i]);
	inputs_close(f->next);
	inputs_close(f->gone);
	ring_group_poll_end(f);
	free(f);
}

/* --- another size --- */

/*
 * When one of a group is closed the last one comes to its place: the kernel may
 * use those places behind the first `rings` ones that are still there then, and
 * any of them after the last one of gone.
 */
static bool ring_group_close_gone(struct ring_group *f, struct ring *first)
{
	for (unsigned i = 0; i < f->rings; i++) {
		unsigned left = f->rings - i - 1;

		if (!ring_choose(first, f->rings, left ? left : 1))
			return false;
		input_close(f->gone[i]);
		f->gone[i] = NULL;
	}
	return ring_choose(first, 0, f->rings);
}

static void *ring_group_work(void *arg)
{
	struct ring_group *f = arg;
	struct ring *first = f->inputs[0]->ring;
	bool ok;

	errno = 0;
	switch (f->state) {
	case RING_GROUP_OPENING:
		ok = ring_group_open_inputs(f, !f->small, first, f->next);
		break;
	case RING_GROUP_SWITCHING:
		ok = ring_choose(first, f->rings, f->rings);
		break;
	default:
		ok = ring_group_close_gone(f, first);
	}
	f->error = ok ? 0 : errno ? errno : ENOMEM;
	atomic_store(&f->done, true);
	return NULL;
}

/* By a thread of its own, if there is one. */
static void ring_group_begin(struct ring_group *f, enum ring_group_state state)
{
	f->state = state;
	atomic_store(&f->done, false);
	f->joinable = pthread_create(&f->thread, NULL, ring_group_work, f) == 0;
	if (!f->joinable)
		ring_group_work(f);
}

/* The rings that come next have the filter that the others have now. */
static bool ring_group_listen_as(struct ring_group *f, struct ring *first)
{
	struct bpf_insn *filter = calloc(BPF_FILTER_INSNS_MAX, sizeof(*filter));
	int n = filter ? bpf_exclude_read(ring_fd(first), filter) : -1;
	bool ok = n > 0;

	for (unsigned i = 0; ok && i < f->rings; i++)
		ok = ring_listen(f->next[i]->ring, filter, (unsigned)n);
	free(filter);
	return ok;
}

static void ring_group_opened(struct ring_group *f, int64_t now)
{
	if (!f->error && ring_group_listen_as(f, f->inputs[0]->ring) &&
	    ring_group_add(f, f->next)) {
		ring_group_begin(f, RING_GROUP_SWITCHING);
		return;
	}
	/* One that is down comes back. */
	if (!f->retry_ns && f->error != ENETDOWN)
		log_warn("%s: the kernel's buffer is to be %s: %s; trying "
			 "again every %d s",
			 f->options->interface, f->small ? "large" : "small",
			 strerror(f->error ? f->error : ENOMEM),
			 (int)(RING_GROUP_RETRY_NS / NS_PER_S));
	inputs_close(f->next);
	f->retry_ns = now + RING_GROUP_RETRY_NS;
	f->state = RING_GROUP_STEADY;
}

static void ring_group_switched(struct ring_group *f, int64_t now)
{
	/* Then the last ones get no packet. */
	if (f->error) {
		ring_group_remove(f, f->rings);
		inputs_close(f->gone);
		f->retry_ns = now + RING_GROUP_RETRY_NS;
		f->state = RING_GROUP_STEADY;
		return;
	}
	for (unsigned i = 0; i < f->rings; i++)
		ring_end(f->inputs[i]->ring);
	f->small = !f->small;
	f->state = RING_GROUP_DRAINING;
}

static bool ring_group_is_drained(struct ring_group *f)
{
	for (unsigned i = 0; i < f->rings; i++)
		if (!ring_drained(f->inputs[i]->ring))
			return false;
	return true;
}

static bool ring_group_is_wrong_size(struct ring_group *f, int64_t now)
{
	int64_t quiet = f->options->quiet_ns ? f->options->quiet_ns
					     : RING_GROUP_QUIET_NS;
	bool busy = false;

	for (unsigned i = 0; i < f->n; i++)
		busy = ring_was_busy(f->inputs[i]->ring) || busy;
	if (busy)
		f->busy_ns = now;
	return now >= f->retry_ns &&
	       (f->small ? busy : now - f->busy_ns >= quiet);
}

void ring_group_resize(struct ring_group *f)
{
	int64_t now;

	if (f->one_size)
		return;
	if (f->state == RING_GROUP_DRAINING) {
		if (!ring_group_is_drained(f))
			return;
		ring_group_remove(f, 0);
		ring_group_begin(f, RING_GROUP_CLOSING);
		return;
	}
	now = monotonic_ns();
	if (f->state == RING_GROUP_STEADY) {
		if (ring_group_is_wrong_size(f, now))
			ring_group_begin(f, RING_GROUP_OPENING);
		return;
	}
	if (!atomic_load(&f->done))
		return;
	ring_group_join(f);
	if (f->state == RING_GROUP_OPENING) {
		ring_group_opened(f, now);
	} else if (f->state == RING_GROUP_SWITCHING) {
		ring_group_switched(f, now);
	} else {
		/* The group is as it was at first, or nothing may join it. */
		f->one_size = f->error;
		f->busy_ns = now;
		f->retry_ns = 0;
		f->state = RING_GROUP_STEADY;
	}
}

int ring_group_fd(const struct ring_group *f)
{
	return f->n == 1 ? ring_fd(f->inputs[0]->ring) : f->epoll_fd;
}

int ring_group_socket(const struct ring_group *f, unsigned i)
{
	return i < f->n ? ring_fd(f->inputs[i]->ring) : -1;
}

/* --- merging --- */

static void ring_group_look(struct ring_group_input *l)
{
	l->has_head = ring_head(l->ring, &l->head_ns);
	/* Without one the kernel may still keep some. */
	l->sure = l->has_head || ring_drained(l->ring);
}

/* The oldest head; *next: the oldest of the other inputs. */
static struct ring_group_input *ring_group_oldest(struct ring_group *f,
						  int64_t *next, bool *sure)
{
	struct ring_group_input *first = NULL;

	*next = INT64_MAX;
	*sure = true;
	for (unsigned i = 0; i < f->n; i++) {
		struct ring_group_input *l = f->inputs[i];

		*sure = *sure && l->sure;
		if (!l->has_head)
			continue;
		if (!first || l->head_ns < first->head_ns) {
			*next = first ? first->head_ns : *next;
			first = l;
		} else if (l->head_ns < *next) {
			*next = l->head_ns;
		}
	}
	return first;
}

/*
 * Wakes up when an input that has nothing gets something, and after wait_ns (0:
 * not by the clock).
 */
static void wait_for_more(struct ring_group *f, int64_t wait_ns)
{
	struct epoll_event seen[2 * CAPTURE_RINGS_MAX + 1];
	struct itimerspec when = {
		.it_value = {wait_ns / NS_PER_S, wait_ns % NS_PER_S},
	};
	int n = epoll_wait(f->epoll_fd, seen, 2 * CAPTURE_RINGS_MAX + 1, 0);

	for (int i = 0; i < n; i++)
		if (seen[i].data.ptr)
			((struct ring_group_input *)seen[i].data.ptr)->armed =
				false;
	/* Setting it also forgets that it went off. */
	timerfd_settime(f->timer_fd, 0, &when, NULL);
	for (unsigned i = 0; i < f->n; i++)
		if (!f->inputs[i]->has_head && !f->inputs[i]->armed)
			ring_group_arm(f, f->inputs[i], EPOLL_CTL_MOD);
}

struct giving {
	source_packet packet;
	void *ctx;
	bool ended;
};

static bool ring_group_give(void *ctx, const struct packet_head *h,
			    const uint8_t *body)
{
	struct giving *g = ctx;

	g->ended = !g->packet(g->ctx, h, body);
	return !g->ended;
}

/* Whether the interface is well is found out by taking from it. */
static int take_nothing(struct ring_group *f, struct giving *g, struct err *e)
{
	for (unsigned i = 0; i < f->n; i++)
		if (ring_take(f->inputs[i]->ring, 0, 0, ring_group_give, g, e) <
		    0)
			return -1;
	return 0;
}

/* How long the head of l waits for inputs of which it is not sure that they
 * have nothing older. A head from the future is one from before the clock was
 * set back. */
static int64_t input_wait_ns(const struct ring_group_input *l, int64_t now)
{
	int64_t age = now - l->head_ns;

	return age < 0 || age >= RING_GROUP_REORDER_NS
		       ? 0
		       : RING_GROUP_REORDER_NS - age;
}

static int take_merged(struct ring_group *f, int max, struct giving *g,
		       struct err *e)
{
	int64_t now = realtime_ns(), next, wait = 0;
	int taken = 0;
	bool sure;
	struct ring_group_input *l = NULL;

	for (unsigned i = 0; i < f->n; i++)
		ring_group_look(f->inputs[i]);
	while (taken < max && !g->ended &&
	       (l = ring_group_oldest(f, &next, &sure))) {
		wait = sure ? 0 : input_wait_ns(l, now);
		if (wait)
			break;
		if (!sure && l->head_ns <= now &&
		    next > now - RING_GROUP_REORDER_NS)
			next = now - RING_GROUP_REORDER_NS;
		int n = ring_take(l->ring, max - taken, next, ring_group_give,
				  g, e);
		if (n < 0)
			return -1;
		taken += n;
		ring_group_look(l);
	}
	/* An input that has something does not wake anybody: what there was no
	 * time or no place for, does. */
	wait_for_more(f, l && !wait ? 1 : wait);
	return taken || l ? taken : take_nothing(f, g, e);
}

int ring_group_take(struct ring_group *f, int max, source_packet packet,
		    void *ctx, struct err *e)
{
	struct giving g = {.packet = packet, .ctx = ctx};

	return f->n == 1 ? ring_take(f->inputs[0]->ring, max, INT64_MAX, packet,
				     ctx, e)
			 : take_merged(f, max, &g, e);
}

/* --- counts --- */

void ring_group_add_known(struct ring_group *f, struct source_drops *d)
{
	struct source_drops *l = &f->lost;

	for (unsigned i = 0; i < f->n; i++)
		ring_add_known(f->inputs[i]->ring, &l->kernel);
	loss_add(&d->kernel, l->kernel.packets, l->kernel.from_ns,
		 l->kernel.to_ns);
	loss_add(&d->interface, l->interface.packets, l->interface.from_ns,
		 l->interface.to_ns);
	f->lost = (struct source_drops){0};
}

void ring_group_add_drops(struct ring_group *f, struct source_drops *d)
{
	for (unsigned i = 0; i < f->n; i++)
		ring_add_drops(f->inputs[i]->ring, &f->lost.kernel);
	if (f->options->promiscuous) {
		uint64_t now = ring_group_interface_drops(f);
		/* Another one of that name begins at 0. */
		uint64_t more =
			now > f->interface_drops ? now - f->interface_drops : 0;

		reading_add(&f->interface_counted, &f->lost.interface, more, 0);
		f->interface_drops = now;
	}
	ring_group_add_known(f, d);
}

uint64_t ring_group_left(struct ring_group *f)
{
	uint64_t left = 0;

	for (unsigned i = 0; i < f->n; i++)
		left += ring_left(f->inputs[i]->ring);
	return left;
}

bool ring_group_was_down(struct ring_group *f)
{
	bool down = false;

	for (unsigned i = 0; i < f->n; i++)
		down = ring_was_down(f->inputs[i]->ring) || down;
	return down;
}

bool ring_group_drained(struct ring_group *f)
{
	for (unsigned i = 0; i < f->n; i++)
		if (!ring_drained(f->inputs[i]->ring))
			return false;
	return true;
}

bool ring_group_is_filling(const struct ring_group *f)
{
	for (unsigned i = 0; i < f->n; i++)
		if (ring_is_filling(f->inputs[i]->ring))
			return true;
	return false;
}
