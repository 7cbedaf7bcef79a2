/*
 * Several rings, merged by time. Guarantees that a packet waits only while an
 * older one may still come from another ring, and never longer than
 * FANOUT_HOLD_NS. Leaves out the rings themselves.
 */
#include "fanout.h"

#include "ring.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* The kernel hands over a ring's block at its second timer tick at the latest.
 */
#define FANOUT_HOLD_NS (3 * SOURCE_TIMEOUT_MS * 1000000ll)

struct lane {
	struct ring *ring;
	bool has_head;
	int64_t head_ns; /* of its next packet */
	bool sure;	 /* the kernel keeps none that is older */
	bool armed;	 /* in epoll, while it has nothing */
};

struct fanout {
	unsigned n;
	/* Readable when a ring that had nothing has something, or when what
	 * waits need not wait any longer. -1: one ring. */
	int epoll_fd, timer_fd;
	struct lane lanes[CAPTURE_RINGS_MAX];
};

static bool arm(struct fanout *f, struct lane *l, int how)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT,
				 .data.ptr = l};

	l->armed = true;
	return epoll_ctl(f->epoll_fd, how, ring_fd(l->ring), &ev) == 0;
}

static bool open_lanes(struct fanout *f, const struct capture_options *o)
{
	struct epoll_event timer = {.events = EPOLLIN};

	for (unsigned i = 0; i < f->n; i++) {
		struct lane *l = &f->lanes[i];

		l->ring = ring_open(o, o->buffer_bytes / f->n);
		if (!l->ring)
			return false;
		if (f->n == 1)
			return true;
		if (!ring_join(l->ring, i ? f->lanes[0].ring : NULL))
			return false;
	}
	f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	f->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (f->epoll_fd < 0 || f->timer_fd < 0 ||
	    epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, f->timer_fd, &timer) != 0)
		return false;
	for (unsigned i = 0; i < f->n; i++)
		if (!arm(f, &f->lanes[i], EPOLL_CTL_ADD))
			return false;
	return true;
}

struct fanout *fanout_open(const struct capture_options *o,
			   const struct filter *filter, int64_t *opened_ns)
{
	struct fanout *f = calloc(1, sizeof(*f));
	bool ok = f;

	if (!f)
		return NULL;
	f->n = o->rings ? o->rings : 1;
	f->epoll_fd = f->timer_fd = -1;
	ok = open_lanes(f, o);
	*opened_ns = realtime_ns();
	for (unsigned i = 0; ok && i < f->n; i++)
		ok = ring_listen(f->lanes[i].ring, filter);
	if (ok)
		return f;
	fanout_close(f);
	return NULL;
}

void fanout_close(struct fanout *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < f->n; i++)
		ring_close(f->lanes[i].ring);
	if (f->epoll_fd >= 0)
		close(f->epoll_fd);
	if (f->timer_fd >= 0)
		close(f->timer_fd);
	free(f);
}

int fanout_fd(const struct fanout *f)
{
	return f->n == 1 ? ring_fd(f->lanes[0].ring) : f->epoll_fd;
}

int fanout_socket(const struct fanout *f, unsigned i)
{
	return i < f->n ? ring_fd(f->lanes[i].ring) : -1;
}

/* --- merging --- */

static void look(struct lane *l)
{
	l->has_head = ring_head(l->ring, &l->head_ns);
	/* Without one the kernel may still keep some. */
	l->sure = l->has_head || ring_drained(l->ring);
}

/* The oldest head; *next: the oldest of the other lanes. */
static struct lane *oldest(struct fanout *f, int64_t *next, bool *sure)
{
	struct lane *first = NULL;

	*next = INT64_MAX;
	*sure = true;
	for (unsigned i = 0; i < f->n; i++) {
		struct lane *l = &f->lanes[i];

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
 * Wakes up when a lane that has nothing gets something, and after wait_ns (0:
 * not by the clock).
 */
static void wait_for_more(struct fanout *f, int64_t wait_ns)
{
	struct epoll_event seen[CAPTURE_RINGS_MAX + 1];
	struct itimerspec when = {
		.it_value = {wait_ns / NS_PER_S, wait_ns % NS_PER_S},
	};
	int n = epoll_wait(f->epoll_fd, seen, CAPTURE_RINGS_MAX + 1, 0);

	for (int i = 0; i < n; i++)
		if (seen[i].data.ptr)
			((struct lane *)seen[i].data.ptr)->armed = false;
	/* Setting it also forgets that it went off. */
	timerfd_settime(f->timer_fd, 0, &when, NULL);
	for (unsigned i = 0; i < f->n; i++)
		if (!f->lanes[i].has_head && !f->lanes[i].armed)
			arm(f, &f->lanes[i], EPOLL_CTL_MOD);
}

struct giving {
	source_packet packet;
	void *ctx;
	bool ended;
};

static bool give(void *ctx, const struct packet_head *h, const uint8_t *body)
{
	struct giving *g = ctx;

	g->ended = !g->packet(g->ctx, h, body);
	return !g->ended;
}

/* Whether the interface is well is found out by taking from it. */
static int take_nothing(struct fanout *f, struct giving *g, struct err *e)
{
	for (unsigned i = 0; i < f->n; i++)
		if (ring_take(f->lanes[i].ring, 0, 0, give, g, e) < 0)
			return -1;
	return 0;
}

/* How long the head of l waits for lanes of which it is not sure that they
 * have nothing older. A head from the future is one from before the clock was
 * set back. */
static int64_t hold_ns(const struct lane *l, int64_t now)
{
	int64_t age = now - l->head_ns;

	return age < 0 || age >= FANOUT_HOLD_NS ? 0 : FANOUT_HOLD_NS - age;
}

static int take_merged(struct fanout *f, int max, struct giving *g,
		       struct err *e)
{
	int64_t now = realtime_ns(), next, wait = 0;
	int taken = 0;
	bool sure;
	struct lane *l = NULL;

	for (unsigned i = 0; i < f->n; i++)
		look(&f->lanes[i]);
	while (taken < max && !g->ended && (l = oldest(f, &next, &sure))) {
		wait = sure ? 0 : hold_ns(l, now);
		if (wait)
			break;
		if (!sure && l->head_ns <= now && next > now - FANOUT_HOLD_NS)
			next = now - FANOUT_HOLD_NS;
		int n = ring_take(l->ring, max - taken, next, give, g, e);
		if (n < 0)
			return -1;
		taken += n;
		look(l);
	}
	wait_for_more(f, wait);
	return taken || l ? taken : take_nothing(f, g, e);
}

int fanout_take(struct fanout *f, int max, source_packet packet, void *ctx,
		struct err *e)
{
	struct giving g = {.packet = packet, .ctx = ctx};

	return f->n == 1 ? ring_take(f->lanes[0].ring, max, INT64_MAX, packet,
				     ctx, e)
			 : take_merged(f, max, &g, e);
}

/* --- counts --- */

void fanout_add_drops(struct fanout *f, struct source_drops *d)
{
	for (unsigned i = 0; i < f->n; i++) {
		struct source_drops one = {0};

		ring_add_drops(f->lanes[i].ring, &one);
		/* They all have the same interface. */
		if (i > 0)
			one.interface.packets = 0;
		loss_add(&d->kernel, one.kernel.packets, one.kernel.from_ns,
			 one.kernel.to_ns);
		loss_add(&d->interface, one.interface.packets,
			 one.interface.from_ns, one.interface.to_ns);
	}
}

void fanout_add_known(struct fanout *f, struct source_drops *d)
{
	for (unsigned i = 0; i < f->n; i++)
		ring_add_known(f->lanes[i].ring, d);
}

uint64_t fanout_left(struct fanout *f)
{
	uint64_t left = 0;

	for (unsigned i = 0; i < f->n; i++)
		left += ring_left(f->lanes[i].ring);
	return left;
}

bool fanout_was_down(struct fanout *f)
{
	bool down = false;

	for (unsigned i = 0; i < f->n; i++)
		down = ring_was_down(f->lanes[i].ring) || down;
	return down;
}

bool fanout_drained(struct fanout *f)
{
	for (unsigned i = 0; i < f->n; i++)
		if (!ring_drained(f->lanes[i].ring))
			return false;
	return true;
}

bool fanout_is_filling(const struct fanout *f)
{
	for (unsigned i = 0; i < f->n; i++)
		if (ring_is_filling(f->lanes[i].ring))
			return true;
	return false;
}
