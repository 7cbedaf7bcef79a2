/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Live captures, in a network namespace of the test's own with a veth pair:
 * frames sent on v1 are captured on v0. Where a namespace cannot be made the
 * tests that need one are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "capture/block_filler.h"
#include "capture/capture.h"
#include "capture/own_traffic.h"
#include "catch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ETHERNET 1
#define SLL2 276
#define LOCAL_EXPERIMENT 0x88b5 /* IEEE 802's EtherType for this */

static bool have_namespace;

/* --- a network --- */

static void ip(const char *arguments)
{
	char command[256];

	snprintf(command, sizeof(command), "ip %s", arguments);
	int r = system(command);
	assert_int_equal(r, 0);
}

/* A link that has just come up drops what is sent for a moment. */
static void wait_until_running(const char *interface)
{
	int64_t deadline = monotonic_ns() + 10 * NS_PER_S;
	struct ifreq ask = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(ask.ifr_name, interface);
	while (ioctl(fd, SIOCGIFFLAGS, &ask) == 0 &&
	       !(ask.ifr_flags & IFF_RUNNING)) {
		assert_true(monotonic_ns() < deadline);
		poll(NULL, 0, 5);
	}
	close(fd);
}

static void make_pair(void)
{
	ip("link add v0 type veth peer name v1");
	ip("link set v0 up");
	ip("link set v1 up");
	wait_until_running("v0");
	wait_until_running("v1");
}

static int sender_on(const char *interface)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = 0,
				 .sll_ifindex = (int)if_nametoindex(interface)};
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* Frame i: addresses, our EtherType, its number, and bytes made from it. */
static uint32_t make_frame(uint8_t frame[ETH_FRAME_LEN], uint32_t i)
{
	uint32_t n = 60 + i * 7 % (ETH_FRAME_LEN - 60);
	const uint16_t type = htons(LOCAL_EXPERIMENT);

	for (uint32_t k = 0; k < n; k++)
		frame[k] = (uint8_t)(i + k);
	memcpy(frame, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02", 12);
	memcpy(frame + 12, &type, 2);
	memcpy(frame + 14, &i, 4);
	return n;
}

static uint32_t send_frames(int fd, uint32_t from, uint32_t n)
{
	uint8_t frame[ETH_FRAME_LEN];

	for (uint32_t i = from; i < from + n; i++) {
		uint32_t length = make_frame(frame, i);

		/* The device's queue may be full for a moment. */
		while (send(fd, frame, length, 0) != (ssize_t)length)
			assert_int_equal(errno, ENOBUFS);
	}
	return from + n;
}

/* The records are the frames from first on, whole and in order. */
static void assert_frames(const struct bytes *records, uint32_t first,
			  uint32_t n, uint32_t snaplen)
{
	uint8_t frame[ETH_FRAME_LEN];
	struct packet_head h = {0};
	const uint8_t *body = NULL;
	uint32_t at = 0;

	for (uint32_t i = first; i < first + n; i++) {
		uint32_t length = make_frame(frame, i);

		assert_int_equal(packet_next(records->at, (uint32_t)records->n,
					     &at, &h, &body),
				 1);
		assert_int_equal(h.len, length);
		assert_int_equal(h.caplen, length < snaplen ? length : snaplen);
		assert_memory_equal(body, frame, h.caplen);
	}
	assert_int_equal(at, records->n);
}

/* --- a capture on it --- */

struct live {
	struct capture_options options;
	struct capture_tail *tail;
	struct catcher catcher;
	struct capture *capture;
	int sender;
};

static const struct capture_options on_v0 = {
	.interface = "v0",
	.filter = "ether proto 0x88b5",
	.snaplen = 262144,
	.promiscuous = true,
	.buffer_bytes = 32 << 20,
	.block_age_ns = 60 * NS_PER_S,
};

static void begin(struct live *l, unsigned max_blocks)
{
	struct err e = ERR_INIT;

	l->tail = capture_tail_new(1, 1, max_blocks);
	catch_init(&l->catcher, l->tail);
	l->capture = capture_start(&l->options, l->tail, &e);
	if (!l->capture)
		fail_msg("%s", e.what);
}

static struct capture_status end(struct live *l)
{
	struct capture_status s;

	capture_stop(l->capture, &s);
	l->capture = NULL;
	return s;
}

static struct capture_status status(struct live *l)
{
	struct capture_status s;

	capture_status(l->capture, &s);
	return s;
}

/* There is no event to wait for: asks again until it is so. */
static void wait_until_waiting_is(struct live *l, bool waiting)
{
	int64_t deadline = monotonic_ns() + 10 * NS_PER_S;

	while (status(l).waiting != waiting) {
		assert_true(monotonic_ns() < deadline);
		poll(NULL, 0, 5);
	}
}

static void wait_until_reason_is(struct live *l, const char *reason)
{
	int64_t deadline = monotonic_ns() + 10 * NS_PER_S;

	while (strcmp(status(l).reason, reason) != 0) {
		if (monotonic_ns() > deadline)
			fail_msg("the reason is '%s'", status(l).reason);
		poll(NULL, 0, 5);
	}
}

static int64_t now_real_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int set_up(void **state)
{
	struct live *l = calloc(1, sizeof(*l));

	*state = l;
	l->options = on_v0;
	l->sender = -1;
	if (!have_namespace)
		return 0;
	make_pair();
	l->sender = sender_on("v1");
	return 0;
}

/* The same behaviour where the ring is not read without libpcap. */
static int set_up_libpcap(void **state)
{
	int r = set_up(state);
	struct live *l = *state;

	l->options.libpcap = true;
	return r;
}

static int set_up_rings(void **state)
{
	int r = set_up(state);
	struct live *l = *state;

	l->options.rings = 3;
	return r;
}

static int tear_down(void **state)
{
	struct live *l = *state;

	if (l->capture)
		capture_stop(l->capture, NULL);
	if (l->tail) {
		catch_done(&l->catcher);
		capture_tail_close(l->tail);
		capture_tail_unref(l->tail);
	}
	if (l->sender >= 0) {
		close(l->sender);
		ip("link del v0");
	}
	free(l);
	return 0;
}

static void need_namespace(void)
{
	if (!have_namespace)
		skip();
}

static void frames_arrive_byte_for_byte(void **state)
{
	struct live *l = *state;

	need_namespace();
	l->options.quiet_ns = -1;
	begin(l, 8);
	int64_t before = time(NULL) * NS_PER_S;
	send_frames(l->sender, 0, 3000);
	assert_true(catch_wait(&l->catcher, 3000));
	struct capture_status s = end(l);
	assert_frames(&l->catcher.records, 0, 3000, UINT32_MAX);
	assert_int_equal(s.received, 3000);
	assert_int_equal(s.dropped_kernel, 0);
	assert_int_equal(s.dropped_memory, 0);
	assert_int_equal(s.link_type, ETHERNET);
	assert_true(s.newest_ns >= before &&
		    s.newest_ns < before + 60 * NS_PER_S);
}

static void snaplen_cuts(void **state)
{
	struct live *l = *state;

	need_namespace();
	l->options.snaplen = 100;
	begin(l, 8);
	send_frames(l->sender, 0, 200);
	assert_true(catch_wait(&l->catcher, 200));
	struct block *b = capture_tail_find(l->tail, 1);
	assert_int_equal(b->snaplen, 100);
	block_unref(b);
	end(l);
	assert_frames(&l->catcher.records, 0, 200, 100);
}

static void filter_is_the_kernels(void **state)
{
	struct live *l = *state;

	need_namespace();
	/* The byte after the EtherType is the number's lowest. */
	strcpy(l->options.filter, "ether proto 0x88b5 and ether[14] = 7");
	begin(l, 8);
	send_frames(l->sender, 0, 256);
	assert_true(catch_wait(&l->catcher, 1));
	end(l);
	assert_frames(&l->catcher.records, 7, 1, UINT32_MAX);
}

/* One packet, then silence: it is the clock that seals. */
static void quiet_block_is_sealed_by_age(void **state)
{
	struct live *l = *state;

	need_namespace();
	l->options.block_age_ns = 3 * NS_PER_S / 10;
	begin(l, 8);
	send_frames(l->sender, 0, 1);
	assert_true(catch_wait(&l->catcher, 1));
	struct block *b = capture_tail_find(l->tail, 1);
	assert_false(block_sealed(b));
	capture_tail_wait(l->tail, 1, monotonic_ns() + 10 * NS_PER_S);
	assert_true(block_sealed(b));
	int64_t age = monotonic_ns() - b->opened_ns;
	assert_true(age >= l->options.block_age_ns);
	assert_int_equal(b->info.packets, 1);
	block_unref(b);
}

/* What the kernel has not handed over yet is waited for; nothing else is. */
static void caught_up_means_that_what_was_sent_is_published(void **state)
{
	struct live *l = *state;
	uint32_t sent = 0;

	need_namespace();
	begin(l, 16);
	catch_release(&l->catcher);
	for (uint32_t n = 0; n < 40; n++) {
		sent = send_frames(l->sender, sent, n % 5);
		capture_catch_up(l->capture);
		pthread_mutex_lock(&l->catcher.lock);
		assert_int_equal(l->catcher.packets, sent);
		pthread_mutex_unlock(&l->catcher.lock);
	}
	struct capture *held = capture_ref(l->capture);
	end(l);
	int64_t before = monotonic_ns();
	capture_catch_up(held);
	assert_true(monotonic_ns() < before + NS_PER_S / 5);
	capture_unref(held);
}

static void stop_takes_what_was_sent_before_it(void **state)
{
	struct live *l = *state;
	uint32_t sent = 0;

	need_namespace();
	for (int round = 0; round < 5; round++) {
		begin(l, 16);
		uint32_t first = sent;
		sent = send_frames(l->sender, sent, 700);
		struct capture_status s = end(l);
		assert_int_equal(s.received, 700);
		assert_frames(&l->catcher.records, first, 700, UINT32_MAX);
		struct block *b = capture_tail_find(l->tail, 1);
		assert_true(block_sealed(b));
		block_unref(b);
		catch_done(&l->catcher);
		capture_tail_unref(l->tail);
		l->tail = NULL;
	}
}

/* --- connections of pcapd's own --- */

struct own {
	struct own_connections *exclude;
	int listener, client; /* that nobody has accepted yet */
	struct flow flow;     /* the client's */
};

static void listen_for_own(struct own *o)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);

	o->exclude = own_connections_new();
	o->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(o->listener, (void *)&at, sizeof(at)), 0);
	assert_int_equal(listen(o->listener, 8), 0);
	assert_int_equal(getsockname(o->listener, (void *)&at, &n), 0);
	assert_true(own_connections_listen(o->exclude, o->listener));
	o->client = -1;
	o->flow = (struct flow){.family = AF_INET,
				.near_port = ntohs(at.sin_port),
				.far_port = 1};
	memcpy(o->flow.near, &at.sin_addr, 4);
	memcpy(o->flow.far, &at.sin_addr, 4);
}

static void connect_own(struct own *o)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons(o->flow.near_port)};
	socklen_t n = sizeof(at);

	o->client = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(o->client, (void *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(o->client, (void *)&at, &n), 0);
	o->flow.far_port = ntohs(at.sin_port);
}

static void end_own(struct own *o)
{
	close(o->client);
	close(o->listener);
	own_connections_free(o->exclude);
}

/* A packet of the flow, in an order of its own: with its number. */
static void make_tcp(uint8_t frame[64], const struct flow *f, bool out,
		     uint32_t number)
{
	const uint16_t near = htons(f->near_port), far = htons(f->far_port);

	memset(frame, 0, 64);
	memcpy(frame, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0\x45", 15);
	frame[17] = 50;
	frame[23] = IPPROTO_TCP;
	memcpy(frame + 26, out ? f->near : f->far, 4);
	memcpy(frame + 30, out ? f->far : f->near, 4);
	memcpy(frame + 34, out ? &near : &far, 2);
	memcpy(frame + 36, out ? &far : &near, 2);
	memcpy(frame + 38, &number, 4);
}

static void send_tcp(int fd, const struct flow *f, bool out, uint32_t number)
{
	uint8_t frame[64];

	make_tcp(frame, f, out, number);
	while (send(fd, frame, sizeof(frame), 0) != sizeof(frame))
		assert_int_equal(errno, ENOBUFS);
}

/* And nothing that was sent later is in front of it. */
static void an_attempt_is_taken_in_its_place(void **state)
{
	struct live *l = *state;
	struct own o;
	struct packet_head h = {0};
	const uint8_t *body = NULL;
	uint32_t sent = 0, at = 0;

	need_namespace();
	listen_for_own(&o);
	l->options.exclude = o.exclude;
	strcpy(l->options.filter, "tcp");
	begin(l, 16);
	for (int i = 0; i < 20; i++) {
		struct flow other = o.flow;

		other.near_port++;
		send_tcp(l->sender, &other, false, sent++);
		send_tcp(l->sender, &o.flow, i % 2, sent++);
		send_tcp(l->sender, &other, true, sent++);
		capture_catch_up(l->capture);
		pthread_mutex_lock(&l->catcher.lock);
		assert_int_equal(l->catcher.packets, sent);
		pthread_mutex_unlock(&l->catcher.lock);
	}
	/* A stop takes what waits. */
	send_tcp(l->sender, &o.flow, false, sent++);
	assert_int_equal(end(l).received, sent);
	for (uint32_t i = 0; i < sent; i++) {
		assert_int_equal(packet_next(l->catcher.records.at,
					     (uint32_t)l->catcher.records.n,
					     &at, &h, &body),
				 1);
		assert_memory_equal(body + 38, &i, 4);
	}
	end_own(&o);
}

/* They were in the ring before it was in the set. */
static void the_first_packets_of_a_connection_are_not_taken(void **state)
{
	struct live *l = *state;
	struct sockaddr_storage from;
	uint64_t number;
	struct own o;

	need_namespace();
	listen_for_own(&o);
	l->options.exclude = o.exclude;
	strcpy(l->options.filter, "tcp");
	begin(l, 16);
	for (uint32_t i = 1; i < 20; i++) {
		struct flow other;

		connect_own(&o);
		other = o.flow;
		other.far[3]++;
		send_tcp(l->sender, &other, true, i);
		send_tcp(l->sender, &o.flow, false, i);
		send_tcp(l->sender, &o.flow, true, i);
		int fd = own_connections_accept(o.exclude, o.listener, &from,
						&number);
		assert_true(fd >= 0);
		send_tcp(l->sender, &o.flow, false, i);
		close(fd);
		close(o.client);
		capture_catch_up(l->capture);
		assert_int_equal(status(l).excluded, i);
		pthread_mutex_lock(&l->catcher.lock);
		assert_int_equal(l->catcher.packets, i);
		pthread_mutex_unlock(&l->catcher.lock);
	}
	assert_int_equal(end(l).received, 19);
	o.client = -1;
	end_own(&o);
}

static bool waits(const struct own_traffic *v, const struct own *o, int64_t ns)
{
	struct packet_head h = {.sec = (uint32_t)(ns / NS_PER_S),
				.nsec = (uint32_t)(ns % NS_PER_S),
				.caplen = 64,
				.len = 64};
	uint8_t frame[64];

	make_tcp(frame, &o->flow, false, 0);
	return own_traffic_waits(v, &h, frame);
}

/* Until a round trip is over and nobody waits to be accepted; not for ever,
 * not in the future, and not where room is short. */
static void a_packet_waits_only_for_what_may_come(void **state)
{
	struct live *l = *state;
	struct err e = ERR_INIT;
	struct own_traffic v = {0};
	struct own o;

	need_namespace();
	listen_for_own(&o);
	l->options.buffer_bytes = CAPTURE_BUFFER_MIN;
	uint32_t link_type;
	struct bpf_filter *f;
	bool other_type;
	assert_true(capture_probe(&l->options, NULL, NULL, &link_type, &f, &e));
	struct source *s =
		source_open(&l->options, f, link_type, &other_type, &e);
	bpf_filter_free(f);
	assert_non_null(s);
	assert_true(own_traffic_follow(&v, o.exclude, s));

	int64_t before = realtime_ns();
	assert_false(own_traffic_follow(&v, o.exclude, s));
	assert_false(waits(&v, &o, before - OWN_TRAFFIC_WAIT_NS));
	assert_true(waits(&v, &o, realtime_ns()));
	assert_false(waits(&v, &o, realtime_ns() + NS_PER_S));

	connect_own(&o);
	before = realtime_ns();
	assert_false(own_traffic_follow(&v, o.exclude, s));
	assert_false(waits(&v, &o, before - OWN_TRAFFIC_WAIT_MAX_NS));
	assert_in_range(v.sure_ns, before - OWN_TRAFFIC_WAIT_MAX_NS,
			realtime_ns() - OWN_TRAFFIC_WAIT_MAX_NS);
	assert_true(waits(&v, &o, realtime_ns()));

	send_frames(l->sender, 0, 2000);
	int64_t deadline = monotonic_ns() + 10 * NS_PER_S;
	while (!source_is_filling(s)) {
		assert_true(monotonic_ns() < deadline);
		poll(NULL, 0, 5);
	}
	own_traffic_follow(&v, o.exclude, s);
	assert_false(waits(&v, &o, realtime_ns()));

	own_connections_unlisten(o.exclude);
	assert_true(own_traffic_follow(&v, o.exclude, s));
	assert_false(waits(&v, &o, realtime_ns()));
	own_traffic_done(&v);
	source_close(s);
	end_own(&o);
}

struct flood {
	int fd;
	atomic_bool done;
};

static void *flood(void *arg)
{
	struct flood *f = arg;

	for (uint32_t i = 0; !atomic_load(&f->done);)
		i = send_frames(f->fd, i, 16);
	return NULL;
}

static void stop_ends_on_a_busy_link(void **state)
{
	struct live *l = *state;
	struct flood f = {.fd = l->sender};
	pthread_t thread;

	need_namespace();
	begin(l, 8);
	catch_release(&l->catcher);
	pthread_create(&thread, NULL, flood, &f);
	assert_true(catch_wait(&l->catcher, 5000));
	int64_t before = monotonic_ns();
	struct capture_status s = end(l);
	int64_t took = monotonic_ns() - before;
	atomic_store(&f.done, true);
	pthread_join(thread, NULL);
	assert_true(took < 2 * NS_PER_S);
	assert_int_equal(s.received, l->catcher.packets);
}

/* Two blocks may wait and nobody takes them: the rest stays in the ring, and
 * comes when there is room. */
static void without_room_packets_stay_in_the_ring(void **state)
{
	struct live *l = *state;
	struct packet_head h = {0};
	const uint8_t *body = NULL;
	uint32_t at = 0, bytes = 0;

	need_namespace();
	l->options.quiet_ns = -1;
	l->options.buffer_bytes = 32 << 20;
	begin(l, 2);
	uint32_t n = send_frames(l->sender, 0, 6000);
	capture_tail_wait(l->tail, 2, monotonic_ns() + 10 * NS_PER_S);
	assert_int_equal(capture_tail_room(l->tail), 0);
	struct block *b = capture_tail_find(l->tail, 2);
	assert_true(block_sealed(b));
	block_unref(b);
	struct capture_status s = status(l);
	assert_int_equal(s.dropped_memory, 0);
	assert_false(s.waiting);
	assert_true(s.received < n);
	catch_release(&l->catcher);
	assert_true(catch_wait(&l->catcher, n));
	s = end(l);
	assert_int_equal(s.received, n);
	assert_int_equal(s.dropped_memory, 0);
	assert_int_equal(s.dropped_kernel, 0);
	while (packet_next(l->catcher.records.at,
			   (uint32_t)l->catcher.records.n, &at, &h, &body) == 1)
		bytes += h.caplen;
	assert_true(bytes > 2 * BLOCK_MAX);
	assert_frames(&l->catcher.records, 0, n, UINT32_MAX);
}

/* Every frame is in a block or in a count. */
static void what_has_no_room_for_good_is_counted(void **state)
{
	struct live *l = *state;

	need_namespace();
	l->options.quiet_ns = -1;
	l->options.buffer_bytes = 1 << 20;
	begin(l, 1);
	uint32_t n = send_frames(l->sender, 0, 8000);
	struct capture_status s = end(l);
	assert_true(s.received > 0);
	assert_true(s.dropped_kernel > 0);
	assert_true(s.dropped_memory > 0);
	assert_int_equal(s.received + s.dropped_kernel + s.dropped_memory, n);
	assert_int_equal(s.received, l->catcher.packets);
}

static void missing_interface_is_waited_for(void **state)
{
	struct live *l = *state;

	need_namespace();
	strcpy(l->options.interface, "late0");
	begin(l, 8);
	struct capture_status s = status(l);
	assert_true(s.waiting);
	assert_string_equal(s.reason, "open late0: no such interface");
	assert_int_equal(s.link_type, 0);
	ip("link add late0 type veth peer name late1");
	ip("link set late0 up");
	ip("link set late1 up");
	wait_until_running("late1");
	wait_until_waiting_is(l, false);
	int fd = sender_on("late1");
	send_frames(fd, 0, 10);
	assert_true(catch_wait(&l->catcher, 10));
	s = end(l);
	close(fd);
	ip("link del late0");
	assert_string_equal(s.reason, "");
	assert_int_equal(s.link_type, ETHERNET);
	assert_frames(&l->catcher.records, 0, 10, UINT32_MAX);
}

static void stop_while_waiting_ends_at_once(void **state)
{
	struct live *l = *state;

	need_namespace();
	strcpy(l->options.interface, "never0");
	begin(l, 8);
	int64_t before = monotonic_ns();
	struct capture_status s = end(l);
	assert_true(monotonic_ns() - before < NS_PER_S / 2);
	assert_true(s.waiting);
	assert_int_equal(s.received, 0);
}

static void vanished_interface_is_waited_for(void **state)
{
	struct live *l = *state;

	need_namespace();
	begin(l, 8);
	send_frames(l->sender, 0, 10);
	assert_true(catch_wait(&l->catcher, 10));
	close(l->sender);
	ip("link del v0");
	wait_until_waiting_is(l, true);
	make_pair();
	l->sender = sender_on("v1");
	wait_until_waiting_is(l, false);
	send_frames(l->sender, 10, 10);
	assert_true(catch_wait(&l->catcher, 20));
	struct capture_status s = end(l);
	assert_int_equal(s.received, 20);
	assert_frames(&l->catcher.records, 0, 20, UINT32_MAX);
}

static void interface_that_goes_down_is_said_and_goes_on(void **state)
{
	struct live *l = *state;

	need_namespace();
	begin(l, 8);
	ip("link set v0 down");
	wait_until_waiting_is(l, true);
	assert_string_equal(status(l).reason, "v0: the interface is down");
	ip("link set v0 up");
	wait_until_running("v1");
	wait_until_waiting_is(l, false);
	send_frames(l->sender, 0, 10);
	assert_true(catch_wait(&l->catcher, 10));
	end(l);
}

static void interface_that_is_down_is_waited_for(void **state)
{
	struct live *l = *state;

	need_namespace();
	ip("link set v0 down");
	begin(l, 8);
	struct capture_status s = status(l);
	assert_true(s.waiting);
	assert_string_equal(s.reason, "open v0: the interface is down");
	ip("link set v0 up");
	wait_until_running("v1");
	wait_until_waiting_is(l, false);
	send_frames(l->sender, 0, 10);
	assert_true(catch_wait(&l->catcher, 10));
	end(l);
}

static void outages_are_told_with_their_time(void **state)
{
	struct live *l = *state;
	struct capture_outage out[CAPTURE_OUTAGES];

	need_namespace();
	begin(l, 8);
	assert_int_equal(capture_take_outages(l->capture, out), 0);
	int64_t before = now_real_ns();
	ip("link set v0 down");
	wait_until_waiting_is(l, true);
	assert_int_equal(capture_take_outages(l->capture, out), 1);
	int64_t from = out[0].from_ns;
	/* Nothing says that it was well later than at the last look. */
	assert_true(from >= before - CAPTURE_ROUND_NS && from <= now_real_ns());
	assert_true(out[0].to_ns == INT64_MAX);
	assert_string_equal(out[0].reason, "v0: the interface is down");
	assert_int_equal(capture_take_outages(l->capture, out), 0);
	ip("link set v0 up");
	wait_until_waiting_is(l, false);
	assert_int_equal(capture_take_outages(l->capture, out), 1);
	assert_int_equal(out[0].from_ns, from);
	assert_true(out[0].to_ns > from && out[0].to_ns <= now_real_ns());
	end(l);
}

/* Whoever reads the outages late still learns that there were some. */
static void many_outages_are_one_long_one(void **state)
{
	struct live *l = *state;
	struct capture_outage out[CAPTURE_OUTAGES];

	need_namespace();
	begin(l, 8);
	for (int i = 0; i < CAPTURE_OUTAGES + 2; i++) {
		ip("link set v0 down");
		wait_until_waiting_is(l, true);
		ip("link set v0 up");
		wait_until_waiting_is(l, false);
	}
	assert_int_equal(capture_take_outages(l->capture, out),
			 CAPTURE_OUTAGES);
	for (int i = 1; i < CAPTURE_OUTAGES; i++)
		assert_true(out[i].from_ns >= out[i - 1].to_ns);
	assert_true(out[CAPTURE_OUTAGES - 1].to_ns <= now_real_ns());
	end(l);
}

static void renamed_interface_is_another_one(void **state)
{
	struct live *l = *state;

	need_namespace();
	begin(l, 8);
	send_frames(l->sender, 0, 10);
	assert_true(catch_wait(&l->catcher, 10));
	ip("link set v0 down");
	ip("link set v0 name w0");
	ip("link set w0 up");
	wait_until_reason_is(l, "v0: the interface is gone");
	send_frames(l->sender, 10, 10); /* on w0, which nobody asked for */
	ip("link set w0 down");
	ip("link set w0 name v0");
	ip("link set v0 up");
	wait_until_running("v1");
	wait_until_waiting_is(l, false);
	send_frames(l->sender, 20, 10);
	assert_true(catch_wait(&l->catcher, 20));
	struct capture_status s = end(l);
	assert_int_equal(s.received, 20);
}

static void recreated_interface_is_followed_at_once(void **state)
{
	struct live *l = *state;

	need_namespace();
	begin(l, 8);
	close(l->sender);
	/* In one go, so that it is there again when the thread looks. */
	ip("link del v0 && ip link add v0 type veth peer name v1 && "
	   "ip link set v0 up && ip link set v1 up");
	l->sender = sender_on("v1");
	int64_t deadline = monotonic_ns() + 10 * NS_PER_S;
	uint32_t sent = 0;
	/* Nothing says from outside which of the two it captures on. */
	while (status(l).received == 0 && monotonic_ns() < deadline) {
		sent = send_frames(l->sender, sent, 1);
		poll(NULL, 0, 20);
	}
	assert_true(catch_wait(&l->catcher, 1));
	end(l);
}

static void any_keeps_the_interface(void **state)
{
	struct live *l = *state;
	struct packet_head h = {0};
	const uint8_t *body = NULL;
	uint8_t frame[ETH_FRAME_LEN];
	uint32_t at = 0, in = 0;

	need_namespace();
	strcpy(l->options.interface, "any");
	begin(l, 8);
	send_frames(l->sender, 0, 5);
	/* Each is seen leaving v1 and coming in on v0. */
	assert_true(catch_wait(&l->catcher, 10));
	struct capture_status s = end(l);
	assert_int_equal(s.link_type, SLL2);
	while (packet_next(l->catcher.records.at,
			   (uint32_t)l->catcher.records.n, &at, &h,
			   &body) == 1) {
		uint32_t index;

		memcpy(&index, body + 4, 4);
		if (ntohl(index) != if_nametoindex("v0"))
			continue;
		/* 20 bytes of SLL2 for 14 of Ethernet. */
		uint32_t n = make_frame(frame, in++);
		assert_int_equal(h.caplen, n + 6);
		assert_memory_equal(body + 20, frame + 14, n - 14);
	}
	assert_int_equal(in, 5);
}

static void loopback_is_captured_once(void **state)
{
	struct live *l = *state;
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(4000),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	need_namespace();
	strcpy(l->options.interface, "lo");
	strcpy(l->options.filter, "udp dst port 4000");
	begin(l, 8);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	for (uint8_t i = 0; i < 100; i++)
		assert_int_equal(sendto(fd, &i, 1, 0, (struct sockaddr *)&to,
					sizeof(to)),
				 1);
	close(fd);
	struct capture_status s = end(l);
	assert_int_equal(s.received, 100);
	/* Ethernet, IP and UDP headers, one byte. */
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(l->catcher.records.at[i * 59 + 16 + 42], i);
}

static void wrong_options_are_refused(void **state)
{
	static const struct {
		const char *interface, *filter, *what, *hint;
		enum err_kind kind;
	} cases[] = {
		{"none0", "", "open none0: no such interface",
		 "List interfaces with 'pcap interfaces'.", ERR_NOT_FOUND},
		{"a name that is much too long for an interface", "",
		 "open a name that is much too long for an interface: no such "
		 "interface",
		 "List interfaces with 'pcap interfaces'.", ERR_NOT_FOUND},
		{"v0", "tcp prot 80",
		 "filter: can't parse filter expression: syntax error at "
		 "\"prot\"",
		 "pcap-filter(7) describes filters.", ERR_USAGE},
	};
	struct live *l = *state;
	uint32_t link_type;
	struct bpf_filter *f;

	need_namespace();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct err e = ERR_INIT;

		strcpy(l->options.interface, cases[i].interface);
		strcpy(l->options.filter, cases[i].filter);
		assert_false(capture_probe(&l->options, NULL, NULL, &link_type,
					   &f, &e));
		assert_int_equal(e.kind, cases[i].kind);
		assert_string_equal(e.what, cases[i].what);
		assert_string_equal(e.hint, cases[i].hint);
	}
	struct err e = ERR_INIT;
	l->options = on_v0;
	l->options.snaplen = 300000;
	assert_false(
		capture_probe(&l->options, NULL, NULL, &link_type, &f, &e));
	assert_int_equal(e.kind, ERR_USAGE);
	assert_string_equal(e.what, "snaplen 300000 is not in 1 to 262144");
	l->options = on_v0;
	l->options.buffer_bytes = 1;
	assert_false(
		capture_probe(&l->options, NULL, NULL, &link_type, &f, &e));
	assert_string_equal(e.what, "a buffer of 1 bytes is not in 1 to 2047 "
				    "MiB");
}

static void wrong_filter_does_not_start(void **state)
{
	struct live *l = *state;
	struct err e = ERR_INIT;

	need_namespace();
	l->tail = capture_tail_new(1, 1, 2);
	catch_init(&l->catcher, l->tail);
	strcpy(l->options.filter, "tcp prot 80");
	assert_null(capture_start(&l->options, l->tail, &e));
	assert_int_equal(e.kind, ERR_USAGE);
}

/* What was compiled for another link type is not used, whatever it is. */
static void a_program_is_used_for_its_link_type_only(void **state)
{
	static const struct bpf_insn everything = {BPF_RET | BPF_K, 0, 0,
						   262144};
	struct live *l = *state;
	struct err e = ERR_INIT;
	struct capture_status s;
	int64_t link_type;

	need_namespace();
	for (int kept = 0; kept < 2; kept++) {
		l->options.program = &everything;
		l->options.program_bytes = sizeof(everything);
		l->options.program_link_type = kept ? ETHERNET : SLL2;
		l->tail = capture_tail_new(1, 1, 2);
		struct capture *c = capture_start(&l->options, l->tail, &e);
		assert_non_null(c);
		capture_ref(c);
		capture_stop(c, &s);
		const struct bpf_filter *f = capture_filter(c, &link_type);
		assert_int_equal(link_type, ETHERNET);
		assert_int_equal(f->program.bf_len == 1, kept);
		capture_unref(c);
		capture_tail_unref(l->tail);
		l->tail = NULL;
	}
}

static void probe_tells_link_type_and_filter(void **state)
{
	struct live *l = *state;
	struct err e = ERR_INIT;
	uint32_t link_type;
	struct bpf_filter *a, *b;
	size_t na, nb;

	need_namespace();
	strcpy(l->options.filter, "tcp port 80");
	assert_true(capture_probe(&l->options, NULL, NULL, &link_type, &a, &e));
	assert_int_equal(link_type, ETHERNET);
	strcpy(l->options.filter, "tcp  port http");
	assert_true(capture_probe(&l->options, NULL, NULL, &link_type, &b, &e));
	const void *pa = bpf_filter_bytes(a, &na),
		   *pb = bpf_filter_bytes(b, &nb);
	assert_int_equal(na, nb);
	assert_memory_equal(pa, pb, na);
	bpf_filter_free(a);
	bpf_filter_free(b);
	strcpy(l->options.interface, "any");
	assert_true(capture_probe(&l->options, NULL, NULL, &link_type, &a, &e));
	assert_int_equal(link_type, SLL2);
	bpf_filter_free(a);
}

static void interfaces_are_listed(void **state)
{
	struct err e = ERR_INIT;
	const struct interface *lo = NULL, *v0 = NULL;
	size_t n = 0;

	(void)state;
	need_namespace();
	ip("address add 192.0.2.1/24 dev v0");
	struct interface *all = interfaces_list(&n, &e);
	assert_non_null(all);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(all[i].name, "lo") == 0)
			lo = &all[i];
		if (strcmp(all[i].name, "v0") == 0)
			v0 = &all[i];
	}
	assert_string_equal(all[n - 1].name, "any");
	assert_non_null(lo);
	assert_true(lo->loopback);
	assert_true(lo->up);
	assert_string_equal(lo->addresses[0], "127.0.0.1");
	assert_non_null(v0);
	assert_true(v0->up);
	assert_false(v0->loopback);
	assert_true(v0->n_addresses >= 1);
	assert_string_equal(v0->addresses[0], "192.0.2.1");
	free(all);
}

/* --- the ring beside libpcap --- */

/* Frame i with up to two tags: none, 802.1Q, 802.1ad with 802.1Q, a priority
 * without a number, a tag and next to nothing behind it. */
static uint32_t make_tagged(uint8_t frame[ETH_FRAME_LEN + 8], uint32_t i)
{
	static const struct {
		uint32_t n;
		uint8_t bytes[8];
	} tags[] = {
		{0, {0}},
		{4, {0x81, 0, 0x20, 77}},
		{8, {0x88, 0xa8, 0, 5, 0x81, 0, 0x0f, 0xff}},
		{4, {0x81, 0, 0xe0, 0}},
		{4, {0x81, 0, 0, 0}},
	};
	uint32_t which = i % (sizeof(tags) / sizeof(*tags));
	uint32_t n = make_frame(frame, i), tag = tags[which].n;

	memmove(frame + 12 + tag, frame + 12, n - 12);
	memcpy(frame + 12, tags[which].bytes, tag);
	return n + tag - (tag && i % 3 == 0 ? n - 16 : 0);
}

static void assert_same(const struct bytes *a, const struct bytes *b)
{
	struct packet_head h = {0}, g = {0};
	const uint8_t *body = NULL, *other = NULL;
	uint32_t at = 0, to = 0;

	while (packet_next(a->at, (uint32_t)a->n, &at, &h, &body) == 1) {
		assert_int_equal(
			packet_next(b->at, (uint32_t)b->n, &to, &g, &other), 1);
		assert_int_equal(h.caplen, g.caplen);
		assert_int_equal(h.len, g.len);
		assert_memory_equal(body, other, h.caplen);
		assert_in_range(h.nsec, 0, NS_PER_S - 1);
		assert_true(packet_time_ns(&h) - packet_time_ns(&g) < NS_PER_S);
		assert_true(packet_time_ns(&g) - packet_time_ns(&h) < NS_PER_S);
	}
	assert_int_equal(at, a->n);
	assert_int_equal(to, b->n);
}

static void ring_gives_the_same_bytes_as_libpcap(void **state)
{
	static const struct {
		const char *filter;
		uint32_t snaplen, expected; /* of 1000 */
	} cases[] = {
		{"", 262144, 1000},
		{"", 16, 1000}, /* a tag is put back, then it is cut */
		{"", 13, 1000},
		{"", 11, 1000},
		{"ether[5] = 1", 100, 1000},
		{"vlan", 262144, 0},
		{"vlan 77", 262144, 200},
		{"not vlan", 60, 0},
		{"ether proto 0x88b5", 262144, 0},
	};
	struct live *l = *state, *other = NULL;
	uint8_t frame[ETH_FRAME_LEN + 8];

	need_namespace();
	ip("link set v0 arp off");
	ip("link set v1 arp off");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		/* What the system itself sends is not counted on. */
		l->options = on_v0;
		snprintf(l->options.filter, sizeof(l->options.filter),
			 "ether dst 02:00:00:00:00:01%s%s",
			 *cases[i].filter ? " and " : "", cases[i].filter);
		l->options.snaplen = cases[i].snaplen;
		other = calloc(1, sizeof(*other));
		other->options = l->options;
		other->options.libpcap = true;
		begin(l, 8);
		begin(other, 8);
		for (uint32_t k = 0; k < 1000; k++) {
			uint32_t n = make_tagged(frame, k);
			while (send(l->sender, frame, n, 0) != (ssize_t)n)
				assert_int_equal(errno, ENOBUFS);
		}
		struct capture_status a = end(l), b = end(other);
		assert_int_equal(a.received, b.received);
		if (cases[i].expected)
			assert_int_equal(a.received, cases[i].expected);
		assert_true(a.received > 0);
		assert_same(&l->catcher.records, &other->catcher.records);
		for (struct live *x = l; x; x = x == l ? other : NULL) {
			catch_done(&x->catcher);
			capture_tail_close(x->tail);
			capture_tail_unref(x->tail);
			x->tail = NULL;
		}
		free(other);
	}
}

/* --- several rings --- */

struct cpu_sender {
	pthread_t thread;
	int cpu;
	uint32_t from, n;
};

static void *send_on_cpu(void *arg)
{
	struct cpu_sender *s = arg;
	int fd = sender_on("v1");
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(s->cpu, &set);
	/* Where there is just one, it sends both parts. */
	sched_setaffinity(0, sizeof(set), &set);
	send_frames(fd, s->from, s->n);
	close(fd);
	return NULL;
}

/* The kernel's list of packet sockets. */
static unsigned sockets_on(const char *interface)
{
	unsigned n = 0, index = if_nametoindex(interface), of;
	char line[256];
	FILE *f = fopen("/proc/net/packet", "re");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += sscanf(line, "%*s %*s %*s %*s %u", &of) == 1 &&
		     of == index;
	fclose(f);
	return n;
}

static void packets_of_several_rings_are_in_the_order_of_time(void **state)
{
	struct live *l = *state;
	struct cpu_sender s[2] = {{.cpu = 0, .from = 0, .n = 5000},
				  {.cpu = 1, .from = 1000000, .n = 5000}};
	uint32_t at = 0, next[2] = {0, 1000000}, number;
	struct packet_head h = {0};
	const uint8_t *body = NULL;
	int64_t newest = 0;

	need_namespace();
	l->options.buffer_bytes = 64 << 20;
	l->options.quiet_ns = -1;
	begin(l, 64);
	assert_int_equal(sockets_on("v0"), 3);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&s[i].thread, NULL, send_on_cpu, &s[i]),
			0);
	for (int i = 0; i < 2; i++)
		pthread_join(s[i].thread, NULL);
	struct capture_status st = end(l);
	assert_int_equal(st.dropped_kernel + st.dropped_memory, 0);
	assert_int_equal(st.received, 10000);
	while (packet_next(l->catcher.records.at,
			   (uint32_t)l->catcher.records.n, &at, &h, &body)) {
		assert_true(packet_time_ns(&h) >= newest);
		newest = packet_time_ns(&h);
		memcpy(&number, body + 14, 4);
		assert_int_equal(number, next[number >= 1000000]++);
	}
	assert_int_equal(next[0], 5000);
	assert_int_equal(next[1], 1005000);
}

static bool count_packet(void *ctx, const struct packet_head *h,
			 const uint8_t *body)
{
	(void)h;
	(void)body;
	++*(int *)ctx;
	return true;
}

/* Or nobody comes back for it before there is more. */
static void what_was_left_in_a_ring_is_readable(void **state)
{
	struct live *l = *state;
	/* From one CPU: the other rings stay empty. */
	struct cpu_sender one = {.cpu = 0, .from = 0, .n = 3000};
	struct err e = ERR_INIT;
	struct bpf_filter *f;
	uint32_t link_type;
	int counted = 0;
	bool other_type;

	need_namespace();
	l->options.quiet_ns = -1;
	assert_true(capture_probe(&l->options, NULL, NULL, &link_type, &f, &e));
	struct source *s =
		source_open(&l->options, f, link_type, &other_type, &e);
	bpf_filter_free(f);
	assert_non_null(s);
	assert_int_equal(pthread_create(&one.thread, NULL, send_on_cpu, &one),
			 0);
	pthread_join(one.thread, NULL);
	while (counted < 3000) {
		struct pollfd fd = {.fd = source_fd(s), .events = POLLIN};

		assert_int_equal(poll(&fd, 1, 10000), 1);
		assert_true(source_take(s, 100, count_packet, &counted, &e) >=
			    0);
	}
	assert_int_equal(counted, 3000);
	source_close(s);
}

/* --- rings of another size --- */

/* Of all packet rings that this process has. */
static uint64_t ring_bytes(void)
{
	uint64_t sum = 0;
	unsigned long from, to;
	char line[512];
	FILE *f = fopen("/proc/self/maps", "re");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, "socket:") &&
		    sscanf(line, "%lx-%lx", &from, &to) == 2)
			sum += to - from;
	fclose(f);
	return sum;
}

static void wait_until_rings_have(uint64_t bytes)
{
	int64_t deadline = monotonic_ns() + 10 * NS_PER_S;

	while (ring_bytes() != bytes) {
		if (monotonic_ns() > deadline)
			fail_msg("%llu bytes of rings",
				 (unsigned long long)ring_bytes());
		poll(NULL, 0, 5);
	}
}

/* Numbers of records only grow, and the records are the frames. */
static void assert_in_order(const struct bytes *records, uint64_t n)
{
	uint8_t frame[ETH_FRAME_LEN];
	struct packet_head h = {0};
	const uint8_t *body = NULL;
	uint32_t at = 0, number, next = 0;

	while (packet_next(records->at, (uint32_t)records->n, &at, &h, &body) ==
	       1) {
		memcpy(&number, body + 14, 4);
		assert_true(number >= next);
		assert_int_equal(h.caplen, make_frame(frame, number));
		assert_memory_equal(body, frame, h.caplen);
		next = number + 1;
		n--;
	}
	assert_int_equal(at, records->n);
	assert_int_equal(n, 0);
}

#define RING_SMALL (2u << 20)

static void a_quiet_capture_has_small_rings(void **state)
{
	struct live *l = *state;
	unsigned rings = l->options.rings ? l->options.rings : 1;
	const uint64_t large = (uint64_t)rings * (32 << 20);
	uint32_t n = 0;

	need_namespace();
	l->options.buffer_bytes = large;
	begin(l, 64);
	for (int i = 0; i < 30; i++) {
		n = send_frames(l->sender, n, 1);
		capture_catch_up(l->capture);
	}
	assert_int_equal(ring_bytes(), rings * RING_SMALL);
	/* A block full at once. */
	n = send_frames(l->sender, n, 400);
	wait_until_rings_have(large);
	n = send_frames(l->sender, n, 400);
	struct capture_status st = end(l);
	assert_int_equal(st.dropped_kernel, 0);
	assert_frames(&l->catcher.records, 0, n, 262144);
}

/* While they are replaced all the time: what the kernel had no room for is
 * counted, and nothing else is missing, comes twice or in another order. */
static void packets_of_rings_that_are_replaced_are_all_there(void **state)
{
	struct live *l = *state;
	unsigned rings = l->options.rings ? l->options.rings : 1, changes = 0;
	const uint64_t large = (uint64_t)rings * (8 << 20);
	int64_t deadline = monotonic_ns() + 30 * NS_PER_S;
	uint64_t last = rings * RING_SMALL, now;
	uint32_t n = 0;

	need_namespace();
	l->options.buffer_bytes = large;
	l->options.quiet_ns = 1;
	begin(l, 64);
	for (unsigned i = 0; changes < 6; i++) {
		assert_true(monotonic_ns() < deadline);
		/* Often more than a block, often less. */
		n = send_frames(l->sender, n, i % 64 < 32 ? 60 : 3);
		now = ring_bytes();
		if (now == (last == large ? rings * RING_SMALL : large)) {
			changes++;
			last = now;
		}
		poll(NULL, 0, 1);
	}
	struct capture_status st = end(l);
	assert_int_equal(st.received + st.dropped_kernel, n);
	assert_in_order(&l->catcher.records, st.received);
}

/* A connection that is excluded after the small rings were made stays so in the
 * large ones, which are listened to with the filter of the moment. */
static void a_filter_goes_over_to_other_rings(void **state)
{
	struct live *l = *state;
	unsigned rings = l->options.rings ? l->options.rings : 1;
	const uint64_t large = (uint64_t)rings * (32 << 20);
	const struct flow own = {.family = AF_INET,
				 .near = {10, 0, 0, 1},
				 .far = {10, 0, 0, 2},
				 .near_port = 2020,
				 .far_port = 40000};
	struct own_connections *x = own_connections_new();

	need_namespace();
	assert_non_null(x);
	l->options.buffer_bytes = large;
	l->options.exclude = x;
	l->options.filter[0] = '\0';
	ip("link set v0 arp off");
	ip("link set v1 arp off");
	begin(l, 64);
	assert_true(own_connections_begin(x, &own) != 0);
	capture_exclude(l->capture);
	capture_catch_up(l->capture);
	send_frames(l->sender, 0, 400);
	wait_until_rings_have(large);
	capture_catch_up(l->capture);
	uint64_t before = status(l).received;
	for (uint32_t i = 0; i < 50; i++)
		send_tcp(l->sender, &own, i & 1, i);
	send_frames(l->sender, 400, 1);
	struct capture_status st = end(l);
	assert_int_equal(st.excluded, 1);
	assert_int_equal(st.left_out, 50);
	assert_in_range(st.received - before, 1, 40); /* IPv6's own, if any */
	own_connections_free(x);
}

/* --- filling, without a network --- */

static void change_of_link_type_begins_another_block(void **state)
{
	struct capture_tail *f = capture_tail_new(1, 1, 4);
	const uint8_t body[100] = {0};
	struct packet_head h = {1, 2, 100, 100};
	struct block_filler fill;

	(void)state;
	block_filler_init(&fill, f);
	block_filler_set_type(&fill, 1, 1000);
	assert_true(block_filler_packet(&fill, &h, body));
	block_filler_set_type(&fill, 1, 1000);
	assert_true(block_filler_packet(&fill, &h, body));
	block_filler_set_type(&fill, 101, 1000);
	assert_true(block_filler_packet(&fill, &h, body));
	block_filler_seal(&fill);
	struct block *a = capture_tail_find(f, 1), *b = capture_tail_find(f, 2);
	assert_int_equal(a->info.packets, 2);
	assert_int_equal(a->link_type, 1);
	assert_int_equal(b->info.packets, 1);
	assert_int_equal(b->link_type, 101);
	block_unref(a);
	block_unref(b);
	capture_tail_close(f);
	capture_tail_unref(f);
}

static void every_packet_is_received_or_dropped(void **state)
{
	struct capture_tail *f = capture_tail_new(1, 1, 2);
	static const uint8_t body[300000];
	struct packet_head h = {1, 2, 300000, 300000};
	struct block_filler fill;

	(void)state;
	block_filler_init(&fill, f);
	block_filler_set_type(&fill, 1, 300000);
	/* Three go into a block, two blocks may wait. */
	for (int i = 0; i < 10; i++)
		assert_int_equal(block_filler_packet(&fill, &h, body), i < 6);
	assert_int_equal(fill.received, 6);
	assert_int_equal(fill.dropped, 4);
	block_filler_seal(&fill);
	capture_tail_close(f);
	capture_tail_unref(f);
}

static void ready_means_that_the_longest_packet_has_a_place(void **state)
{
	struct capture_tail *f = capture_tail_new(1, 1, 2);
	static const uint8_t body[300000];
	struct packet_head h = {1, 2, 1000, 1000};
	struct block_filler fill;
	uint64_t sent = 0;

	(void)state;
	block_filler_init(&fill, f);
	block_filler_set_type(&fill, 1, 262144);
	while (block_filler_ready(&fill)) {
		h.caplen = h.len = sent % 7 ? 1000 : 262144;
		assert_true(block_filler_packet(&fill, &h, body));
		sent++;
	}
	assert_true(sent > 6);
	assert_int_equal(fill.dropped, 0);
	assert_int_equal(capture_tail_room(f), 0);
	block_filler_seal(&fill);
	capture_tail_release(f, 1);
	assert_true(block_filler_ready(&fill));
	capture_tail_close(f);
	capture_tail_unref(f);
}

/* --- */

static bool loopback_up(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	bool ok = ioctl(fd, SIOCSIFFLAGS, &r) == 0;

	close(fd);
	return ok;
}

/* Where users may have namespaces of their own; root in it, so that ip(8) is.*/
static bool unshare_as_user(void)
{
	char map[32];
	int n = snprintf(map, sizeof(map), "0 %u 1", getuid());

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return false;
	FILE *f = fopen("/proc/self/uid_map", "w");
	if (!f)
		return false;
	bool ok = fwrite(map, 1, (size_t)n, f) == (size_t)n;
	return fclose(f) == 0 && ok;
}

static void enter_namespace(void)
{
	have_namespace = (unshare(CLONE_NEWNET) == 0 || unshare_as_user()) &&
			 loopback_up() &&
			 system("ip link add v0 type veth peer name v1 && "
				"ip link del v0") == 0;
	if (!have_namespace)
		print_message("SKIPPED: live captures need a network namespace "
			      "with a veth pair: %s\n",
			      strerror(errno));
}

#define live_test(test)                                                        \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down),              \
		cmocka_unit_test_setup_teardown(test, set_up_libpcap,          \
						tear_down)
#define rings_test(test)                                                       \
	cmocka_unit_test_setup_teardown(test, set_up_rings, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		live_test(frames_arrive_byte_for_byte),
		live_test(snaplen_cuts),
		live_test(filter_is_the_kernels),
		live_test(quiet_block_is_sealed_by_age),
		live_test(caught_up_means_that_what_was_sent_is_published),
		live_test(stop_takes_what_was_sent_before_it),
		live_test(an_attempt_is_taken_in_its_place),
		live_test(the_first_packets_of_a_connection_are_not_taken),
		cmocka_unit_test_setup_teardown(
			a_packet_waits_only_for_what_may_come, set_up,
			tear_down),
		live_test(stop_ends_on_a_busy_link),
		live_test(without_room_packets_stay_in_the_ring),
		live_test(what_has_no_room_for_good_is_counted),
		live_test(missing_interface_is_waited_for),
		live_test(stop_while_waiting_ends_at_once),
		live_test(vanished_interface_is_waited_for),
		live_test(interface_that_goes_down_is_said_and_goes_on),
		live_test(interface_that_is_down_is_waited_for),
		live_test(outages_are_told_with_their_time),
		live_test(many_outages_are_one_long_one),
		live_test(renamed_interface_is_another_one),
		live_test(recreated_interface_is_followed_at_once),
		live_test(any_keeps_the_interface),
		live_test(loopback_is_captured_once),
		live_test(wrong_options_are_refused),
		live_test(wrong_filter_does_not_start),
		live_test(a_program_is_used_for_its_link_type_only),
		live_test(probe_tells_link_type_and_filter),
		live_test(interfaces_are_listed),
		cmocka_unit_test_setup_teardown(
			ring_gives_the_same_bytes_as_libpcap, set_up,
			tear_down),
		rings_test(frames_arrive_byte_for_byte),
		rings_test(snaplen_cuts),
		rings_test(filter_is_the_kernels),
		rings_test(caught_up_means_that_what_was_sent_is_published),
		rings_test(stop_takes_what_was_sent_before_it),
		rings_test(an_attempt_is_taken_in_its_place),
		rings_test(the_first_packets_of_a_connection_are_not_taken),
		rings_test(stop_ends_on_a_busy_link),
		rings_test(without_room_packets_stay_in_the_ring),
		rings_test(what_has_no_room_for_good_is_counted),
		rings_test(vanished_interface_is_waited_for),
		rings_test(interface_that_goes_down_is_said_and_goes_on),
		rings_test(recreated_interface_is_followed_at_once),
		rings_test(loopback_is_captured_once),
		rings_test(packets_of_several_rings_are_in_the_order_of_time),
		rings_test(what_was_left_in_a_ring_is_readable),
		cmocka_unit_test_setup_teardown(a_quiet_capture_has_small_rings,
						set_up, tear_down),
		rings_test(a_quiet_capture_has_small_rings),
		cmocka_unit_test_setup_teardown(
			packets_of_rings_that_are_replaced_are_all_there,
			set_up, tear_down),
		rings_test(packets_of_rings_that_are_replaced_are_all_there),
		cmocka_unit_test_setup_teardown(
			a_filter_goes_over_to_other_rings, set_up, tear_down),
		rings_test(a_filter_goes_over_to_other_rings),
		cmocka_unit_test(change_of_link_type_begins_another_block),
		cmocka_unit_test(every_packet_is_received_or_dropped),
		cmocka_unit_test(
			ready_means_that_the_longest_packet_has_a_place),
	};

	enter_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
