/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections that captures leave out: programs for the kernel and what looks
 * at stored packets, both against packets of all shapes, and the set itself.
 */
#include "capture/bpf_exclude.h"
#include "capture/own_connections.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LINK_ETHERNET 1
#define LINK_RAW 101
#define LINK_SLL2 276

struct shape {
	uint32_t link_type;
	int tags, options;
	bool udp, later_fragment;
	int payload;
};

struct packet {
	uint8_t bytes[256];
	unsigned n, ports_end; /* behind the ports */
};

static struct flow flow_of(const char *near, uint16_t near_port,
			   const char *far, uint16_t far_port)
{
	struct flow f = {.near_port = near_port, .far_port = far_port};

	f.family = strchr(near, ':') ? AF_INET6 : AF_INET;
	assert_int_equal(inet_pton(f.family, near, f.near), 1);
	assert_int_equal(inet_pton(f.family, far, f.far), 1);
	return f;
}

static void put(struct packet *p, const void *bytes, unsigned n)
{
	memcpy(p->bytes + p->n, bytes, n);
	p->n += n;
}

static void put16(struct packet *p, uint16_t value)
{
	value = htons(value);
	put(p, &value, 2);
}

static void put_link(struct packet *p, const struct shape *s, uint16_t type)
{
	uint16_t first = s->tags ? 0x8100 : type;

	if (s->link_type == LINK_ETHERNET) {
		p->n = 12;
		put16(p, first);
	} else if (s->link_type == LINK_SLL2) {
		put16(p, first);
		p->n = 20;
	}
	for (int i = s->tags; i > 0; i--) {
		put16(p, 0x4045);
		put16(p, i > 1 ? 0x8100 : type);
	}
}

static void put_ip(struct packet *p, const struct flow *f, bool out,
		   const struct shape *s)
{
	const uint8_t *from = out ? f->near : f->far;
	const uint8_t *to = out ? f->far : f->near;
	uint8_t four[20] = {[0] = (uint8_t)(0x45 + s->options),
			    [7] = s->later_fragment ? 9 : 0,
			    [9] = s->udp ? IPPROTO_UDP : IPPROTO_TCP};
	uint8_t six[8] = {0x60, [6] = s->udp ? IPPROTO_UDP : IPPROTO_TCP};

	if (f->family == AF_INET) {
		put(p, four, 12);
		put(p, from, 4);
		put(p, to, 4);
		p->n += 4 * (unsigned)s->options;
	} else {
		put(p, six, 8);
		put(p, from, 16);
		put(p, to, 16);
	}
}

/* Of the connection f, from its near end or to it. */
static struct packet packet_of(const struct flow *f, bool out,
			       const struct shape *s)
{
	struct packet p = {.n = 0};

	put_link(&p, s, f->family == AF_INET ? 0x0800 : 0x86dd);
	put_ip(&p, f, out, s);
	put16(&p, out ? f->near_port : f->far_port);
	put16(&p, out ? f->far_port : f->near_port);
	p.ports_end = p.n;
	p.n += (unsigned)s->payload;
	return p;
}

struct world {
	struct flow flows[300];
	unsigned n;
	enum layout layout;
	struct bpf_insn program[BPF_FILTER_INSNS_MAX];
	unsigned length;
};

static void build(struct world *w, uint32_t link_type)
{
	w->layout = layout_of_link_type(link_type);
	w->length = bpf_exclude_build(w->flows, w->n, w->layout, NULL, 0,
				      w->program);
	assert_int_not_equal(w->length, 0);
}

static bool is_of_none(const struct world *w, const uint8_t *bytes, unsigned n)
{
	struct ends e;

	if (!ends_of_packet(&e, w->layout, bytes, n))
		return true;
	for (unsigned i = 0; i < w->n; i++)
		if (flow_has(&w->flows[i], &e))
			return false;
	return true;
}

static bool let_through(const struct world *w, const uint8_t *bytes, unsigned n)
{
	unsigned taken = bpf_filter(w->program, bytes, n, n);

	/* Nothing, or so much that it can be counted, or all. */
	assert_true(taken == 0 || taken == EXCLUDED_SNAPLEN || taken >= 65535);
	return taken >= 65535;
}

/* The kernel never sees the header of cooked savefiles. */
static bool taken(const struct world *w, const struct packet *p, unsigned n)
{
	/* In memory of that size, so that reading behind it is found out. */
	uint8_t *exact = malloc(n ? n : 1);

	memcpy(exact, p->bytes, n);
	bool is = is_of_none(w, exact, n);
	if (w->layout != LAYOUT_SLL2)
		assert_int_equal(let_through(w, exact, n), is);
	free(exact);
	return is;
}

static void set_flows(struct world *w)
{
	w->flows[0] = flow_of("10.0.0.1", 2020, "10.0.0.2", 40000);
	w->flows[1] = flow_of("fd00::1", 2020, "fd00::2", 40000);
	w->flows[2] = flow_of("10.0.0.1", 22, "10.0.0.3", 50000);
	w->n = 3;
}

static const struct shape shapes[] = {
	{LINK_ETHERNET, .payload = 20},
	{LINK_ETHERNET, .tags = 1, .payload = 20},
	{LINK_ETHERNET, .options = 5},
	{LINK_SLL2, .payload = 20},
	{LINK_SLL2, .tags = 1},
	{LINK_RAW, .payload = 20},
	{LINK_RAW, .options = 10, .payload = 1},
};

#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void both_directions_are_left_out_of_every_link(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < N_SHAPES; i++) {
		build(w, shapes[i].link_type);
		for (unsigned k = 0; k < 2 * w->n; k++) {
			struct packet p =
				packet_of(&w->flows[k / 2], k % 2, &shapes[i]);
			assert_false(taken(w, &p, p.n));
		}
	}
}

/* One bit of the addresses, the ports or what tells that they are these. */
static void a_packet_with_any_other_address_or_port_stays(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < N_SHAPES; i++) {
		build(w, shapes[i].link_type);
		for (unsigned k = 0; k < 2 * w->n; k++) {
			const struct flow *f = &w->flows[k / 2];
			unsigned addresses = f->family == AF_INET ? 8 : 32;
			struct packet p = packet_of(f, k % 2, &shapes[i]);
			unsigned ip = p.ports_end - 4 - addresses -
				      (f->family == AF_INET
					       ? 4 * (unsigned)shapes[i].options
					       : 0);

			for (unsigned bit = 0; bit < 8 * addresses; bit++) {
				p.bytes[ip + bit / 8] ^= 1 << bit % 8;
				assert_true(taken(w, &p, p.n));
				p.bytes[ip + bit / 8] ^= 1 << bit % 8;
			}
			for (unsigned bit = 0; bit < 32; bit++) {
				unsigned at = p.ports_end - 4 + bit / 8;
				p.bytes[at] ^= 1 << bit % 8;
				assert_true(taken(w, &p, p.n));
				p.bytes[at] ^= 1 << bit % 8;
			}
			assert_false(taken(w, &p, p.n));
		}
	}
}

static void what_is_too_short_to_tell_stays(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < N_SHAPES; i++) {
		build(w, shapes[i].link_type);
		for (unsigned k = 0; k < w->n; k++) {
			struct packet p =
				packet_of(&w->flows[k], true, &shapes[i]);
			for (unsigned n = 0; n <= p.n; n++)
				assert_int_equal(taken(w, &p, n),
						 n < p.ports_end);
		}
	}
}

static void udp_fragments_and_second_tags_stay(void **state)
{
	struct world *w = *state;
	static const struct shape others[] = {
		{LINK_ETHERNET, .udp = true, .payload = 20},
		{LINK_SLL2, .udp = true, .payload = 20},
		{LINK_ETHERNET, .later_fragment = true, .payload = 20},
		{LINK_ETHERNET, .tags = 2, .payload = 20},
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		build(w, others[i].link_type);
		struct packet p = packet_of(&w->flows[0], true, &others[i]);
		assert_true(taken(w, &p, p.n));
	}
}

static void other_types_stay_whatever_is_in_them(void **state)
{
	struct world *w = *state;
	struct shape s = {LINK_ETHERNET, .payload = 20};
	struct packet p = packet_of(&w->flows[0], true, &s);

	build(w, LINK_ETHERNET);
	p.bytes[12] = 0x08;
	p.bytes[13] = 0x06;
	assert_true(taken(w, &p, p.n));
}

/* libpcap's word for it, on what it can read. */
static void the_program_agrees_with_libpcaps_of_the_same_words(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct bpf_filter *oracle = bpf_filter_compile(
		"not (tcp and ((src host 10.0.0.1 and src port 2020 and "
		"dst host 10.0.0.2 and dst port 40000) or (dst host 10.0.0.1 "
		"and dst port 2020 and src host 10.0.0.2 and src port 40000)))",
		LINK_ETHERNET, 65535, &e);
	struct shape s = {LINK_ETHERNET, .payload = 20};
	unsigned seed = 1, left_out = 0;

	assert_non_null(oracle);
	w->n = 1;
	build(w, LINK_ETHERNET);
	for (int i = 0; i < 200000; i++) {
		struct packet p = packet_of(&w->flows[0], i % 2, &s);
		for (int k = rand_r(&seed) % 3; k > 0; k--)
			p.bytes[12 + (unsigned)rand_r(&seed) % 26] =
				(uint8_t)(rand_r(&seed) % 3
						  ? rand_r(&seed)
						  : (int[]){4, 6, 8, 0, 0x45,
							    2}[rand_r(&seed) %
							       6]);
		/* libpcap ends at a header that is longer than the packet. */
		if (14 + 4 * (p.bytes[14] & 0xf) + 4 > (int)p.n)
			continue;
		/* It looks behind no tag here. */
		if (p.bytes[12] == 0x81 || p.bytes[12] == 0x88)
			continue;
		bool is = bpf_filter(oracle->program.bf_insns, p.bytes, p.n,
				     p.n) != 0;
		assert_int_equal(taken(w, &p, p.n), is);
		left_out += !is;
	}
	assert_true(left_out > 1000);
	bpf_filter_free(oracle);
}

static void what_stays_goes_through_the_captures_own_filter(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct shape s = {LINK_ETHERNET, .payload = 20};
	struct flow other = flow_of("10.0.0.9", 2020, "10.0.0.2", 40000);
	struct bpf_filter *own =
		bpf_filter_compile("tcp port 2020", LINK_ETHERNET, 65535, &e);

	assert_non_null(own);
	w->length = bpf_exclude_build(w->flows, w->n, LAYOUT_ETHER,
				      own->program.bf_insns,
				      own->program.bf_len, w->program);
	assert_int_not_equal(w->length, 0);
	struct packet p = packet_of(&other, true, &s);
	assert_true(let_through(w, p.bytes, p.n));
	p = packet_of(&w->flows[0], true, &s);
	assert_false(let_through(w, p.bytes, p.n));
	assert_int_equal(bpf_filter(w->program, p.bytes, p.n, p.n),
			 EXCLUDED_SNAPLEN);
	other.near_port = 2021;
	p = packet_of(&other, true, &s);
	assert_false(let_through(w, p.bytes, p.n));
	/* What the filter would not have taken is not counted. */
	p = packet_of(&w->flows[2], true, &s);
	assert_int_equal(bpf_filter(w->program, p.bytes, p.n, p.n), 0);
	bpf_filter_free(own);
}

/* What is cut shorter cannot be told from others, and is left out at once. */
static void a_short_snaplen_lets_nothing_through(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct shape s = {LINK_ETHERNET, .payload = 20};
	struct bpf_filter *own =
		bpf_filter_compile("tcp", LINK_ETHERNET, 60, &e);
	struct packet p = packet_of(&w->flows[0], true, &s);

	w->length = bpf_exclude_build(w->flows, w->n, LAYOUT_ETHER,
				      own->program.bf_insns,
				      own->program.bf_len, w->program);
	assert_int_equal(bpf_filter(w->program, p.bytes, p.n, p.n), 0);
	p = packet_of(&(struct flow){.family = AF_INET}, true, &s);
	assert_int_equal(bpf_filter(w->program, p.bytes, p.n, p.n), 60);
	bpf_filter_free(own);
}

/* Distinct ports at both ends, as after many connections of ssh. */
static void hundreds_of_connections_fit_and_too_many_are_refused(void **state)
{
	struct world *w = *state;
	struct shape s = {LINK_ETHERNET, .payload = 20};

	for (unsigned i = 0; i < 280; i++)
		w->flows[i] = flow_of("10.0.0.1", (uint16_t)(2020 + i % 12),
				      "10.0.0.2", (uint16_t)(1024 + i));
	w->n = 280;
	build(w, LINK_ETHERNET);
	for (unsigned i = 0; i < w->n; i++) {
		struct packet p = packet_of(&w->flows[i], i % 2, &s);
		assert_false(taken(w, &p, p.n));
	}
	for (unsigned i = 0; i < 300; i++)
		w->flows[i] = flow_of("fd00::1", 2020, "fd00::2",
				      (uint16_t)(1024 + i));
	w->n = 300;
	assert_int_equal(bpf_exclude_build(w->flows, w->n, LAYOUT_ETHER, NULL,
					   0, w->program),
			 0);
}

/* The kernel checks a program that it is given. */
static void the_kernel_takes_it_and_gives_it_back(void **state)
{
	struct world *w = *state;
	struct bpf_insn got[BPF_FILTER_INSNS_MAX];
	static const enum layout layouts[] = {LAYOUT_ETHER, LAYOUT_COOKED,
					      LAYOUT_RAW};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bpf_exclude_read(fd, got), 0);
	for (size_t i = 0; i < 3; i++) {
		w->length = bpf_exclude_build(w->flows, w->n, layouts[i], NULL,
					      0, w->program);
		assert_true(bpf_exclude_attach(fd, w->program, w->length));
		assert_int_equal(bpf_exclude_read(fd, got), w->length);
		assert_memory_equal(got, w->program,
				    w->length * sizeof(got[0]));
	}
	close(fd);
}

static void one_that_ended_stays_for_a_while(void **state)
{
	struct own_connections *x = own_connections_new();
	struct world *w = *state;
	struct own_connections_past past[4];
	struct flow *all = calloc(OWN_CONNECTIONS_MAX, sizeof(*all));
	uint16_t places[OWN_CONNECTIONS_MAX];
	uint64_t version, before = own_connections_version(x);

	assert_non_null(all);
	uint64_t number = own_connections_begin(x, &w->flows[0]);
	assert_int_not_equal(number, 0);
	assert_int_not_equal(own_connections_version(x), before);
	own_connections_end(x, number);
	assert_int_equal(own_connections_expire(x, past, 4), 0);
	assert_int_equal(own_connections_list(x, all, places, &version), 1);
	assert_memory_equal(&all[0], &w->flows[0], sizeof(all[0]));
	assert_int_equal(version, own_connections_version(x));
	free(all);
	own_connections_free(x);
}

static void a_full_set_gives_up_those_that_have_ended(void **state)
{
	struct own_connections *x = own_connections_new();
	struct world *w = *state;
	uint64_t first = 0;

	for (unsigned i = 0; i < OWN_CONNECTIONS_MAX; i++) {
		uint64_t number = own_connections_begin(x, &w->flows[0]);
		assert_int_not_equal(number, 0);
		first = first ? first : number;
	}
	assert_int_equal(own_connections_begin(x, &w->flows[1]), 0);
	own_connections_end(x, first);
	assert_int_not_equal(own_connections_begin(x, &w->flows[1]), 0);
	own_connections_free(x);
}

static void text_names_both_ends(void **state)
{
	struct world *w = *state;
	char text[FLOW_TEXT];

	assert_string_equal(flow_text(&w->flows[0], text),
			    "10.0.0.1:2020 10.0.0.2:40000");
	assert_string_equal(flow_text(&w->flows[1], text),
			    "[fd00::1]:2020 [fd00::2]:40000");
}

/* --- where they come from --- */

/* A socket for both families, on loopback and any port. */
struct listener {
	struct own_connections *exclude;
	int fd;
	struct sockaddr_in6 at;
};

static void listen_anywhere(struct listener *l)
{
	int on = 0;
	socklen_t n = sizeof(l->at);

	l->at = (struct sockaddr_in6){.sin6_family = AF_INET6};
	l->exclude = own_connections_new();
	l->fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	assert_int_equal(bind(l->fd, (void *)&l->at, sizeof(l->at)), 0);
	assert_int_equal(listen(l->fd, 8), 0);
	assert_int_equal(getsockname(l->fd, (void *)&l->at, &n), 0);
	assert_true(own_connections_listen(l->exclude, l->fd));
}

/* Over IPv4. */
static int client_of(const struct listener *l)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = l->at.sin6_port,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (void *)&to, sizeof(to)), 0);
	return fd;
}

static void stop_listening(struct listener *l)
{
	close(l->fd);
	own_connections_free(l->exclude);
}

/* Whoever connects without showing who they are comes last, and makes room. */
static void those_that_are_known_come_first(void **state)
{
	struct flow *all = calloc(OWN_CONNECTIONS_MAX, sizeof(*all));
	uint16_t *places = calloc(OWN_CONNECTIONS_MAX, sizeof(*places));
	struct world *w = *state;
	struct listener l;
	struct sockaddr_storage from;
	uint64_t numbers[3], version;
	int fds[6];

	listen_anywhere(&l);
	for (unsigned i = 0; i < 3; i++) {
		fds[i] = client_of(&l);
		fds[3 + i] = own_connections_accept(l.exclude, l.fd, &from,
						    &numbers[i]);
		assert_int_not_equal(numbers[i], 0);
	}
	own_connections_known(l.exclude, numbers[2]);
	assert_int_not_equal(own_connections_begin(l.exclude, &w->flows[0]), 0);
	assert_int_equal(own_connections_list(l.exclude, all, places, &version),
			 4);
	assert_memory_equal(&all[0], &w->flows[0], sizeof(all[0]));
	assert_int_equal(places[1], 2);
	for (unsigned i = 4; i < OWN_CONNECTIONS_MAX + 2; i++)
		assert_int_not_equal(
			own_connections_begin(l.exclude, &w->flows[0]), 0);
	/* Both that are not known are gone, and no known one goes. */
	assert_int_equal(own_connections_begin(l.exclude, &w->flows[0]), 0);
	unsigned n = own_connections_list(l.exclude, all, places, &version);
	unsigned others = 0;
	for (unsigned i = 0; i < n; i++)
		others += memcmp(&all[i], &w->flows[0], sizeof(all[i])) != 0;
	assert_int_equal(others, 1);
	for (unsigned i = 0; i < 6; i++)
		close(fds[i]);
	stop_listening(&l);
	free(all);
	free(places);
}

static struct flow only_one(struct own_connections *x)
{
	struct flow *all = calloc(OWN_CONNECTIONS_MAX, sizeof(*all));
	uint16_t places[OWN_CONNECTIONS_MAX];
	uint64_t ignored;

	assert_int_equal(own_connections_list(x, all, places, &ignored), 1);
	struct flow f = all[0];
	free(all);
	return f;
}

static void a_mapped_address_is_an_ipv4_one(void **state)
{
	struct sockaddr_storage from;
	const uint8_t loopback[4] = {127, 0, 0, 1};
	struct listener l;
	uint64_t number;

	(void)state;
	listen_anywhere(&l);
	int client = client_of(&l);
	int server = own_connections_accept(l.exclude, l.fd, &from, &number);
	assert_true(server >= 0);
	assert_int_not_equal(number, 0);
	struct flow f = only_one(l.exclude);
	assert_int_equal(f.family, AF_INET);
	assert_int_equal(f.near_port, ntohs(l.at.sin6_port));
	assert_memory_equal(f.near, loopback, 4);
	assert_memory_equal(f.far, loopback, 4);
	close(server);
	close(client);
	stop_listening(&l);
}

/* What was said is on the wire, and is nobody else's. */
static void one_that_was_reset_before_it_was_accepted_is_in(void **state)
{
	struct sockaddr_storage from;
	struct linger hard = {.l_onoff = 1};
	struct sockaddr_in own;
	socklen_t n = sizeof(own);
	struct listener l;
	uint64_t number;

	(void)state;
	listen_anywhere(&l);
	int client = client_of(&l);
	assert_int_equal(getsockname(client, (void *)&own, &n), 0);
	setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(client);
	int server = own_connections_accept(l.exclude, l.fd, &from, &number);
	assert_true(server >= 0);
	assert_int_equal(only_one(l.exclude).far_port, ntohs(own.sin_port));
	close(server);
	stop_listening(&l);
}

static void the_set_is_settled_when_nobody_waits_to_be_accepted(void **state)
{
	struct sockaddr_storage from;
	struct listener l;
	uint64_t number;

	(void)state;
	listen_anywhere(&l);
	assert_true(own_connections_settled(l.exclude));
	int a = client_of(&l), b = client_of(&l);
	assert_false(own_connections_settled(l.exclude));
	close(own_connections_accept(l.exclude, l.fd, &from, &number));
	assert_false(own_connections_settled(l.exclude));
	close(own_connections_accept(l.exclude, l.fd, &from, &number));
	assert_true(own_connections_settled(l.exclude));
	assert_int_equal(
		own_connections_accept(l.exclude, l.fd, &from, &number), -1);
	assert_int_equal(errno, EAGAIN);
	close(a);
	close(b);
	stop_listening(&l);
}

static void who_listens_is_known_until_it_does_not(void **state)
{
	struct flow all[OWN_CONNECTIONS_LISTENERS_MAX];
	struct listener l;
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	listen_anywhere(&l);
	assert_false(own_connections_listen(l.exclude, client));
	assert_int_equal(own_connections_listeners(l.exclude, all), 1);
	assert_int_equal(all[0].near_port, ntohs(l.at.sin6_port));
	for (int i = 1; i < OWN_CONNECTIONS_LISTENERS_MAX; i++)
		assert_true(own_connections_listen(l.exclude, l.fd));
	assert_false(own_connections_listen(l.exclude, l.fd));
	uint64_t before = own_connections_version(l.exclude);
	own_connections_unlisten(l.exclude);
	assert_int_equal(own_connections_listeners(l.exclude, all), 0);
	assert_int_not_equal(own_connections_version(l.exclude), before);
	close(client);
	stop_listening(&l);
}

static bool begins(const struct flow *at, const struct flow *f, bool out)
{
	struct shape s = {LINK_ETHERNET, .payload = 20};
	struct packet p = packet_of(f, out, &s);
	struct ends e;

	assert_true(ends_of_packet(&e, LAYOUT_ETHER, p.bytes, p.n));
	return flow_begins_at(at, &e);
}

static void a_near_end_is_recognised_on_either_side(void **state)
{
	struct world *w = *state;
	struct flow at = {.family = AF_INET, .near_port = 2020};
	struct flow six = {.family = AF_INET6, .near_port = 2020};
	struct flow mine = flow_of("10.0.0.2", 2020, "10.0.0.2", 1);
	struct flow other = flow_of("10.0.0.1", 2020, "10.0.0.2", 2020);

	for (int out = 0; out < 2; out++) {
		for (int i = 0; i < 3; i++) {
			bool is = w->flows[i].near_port == 2020;
			assert_int_equal(begins(&at, &w->flows[i], out), is);
			assert_int_equal(begins(&six, &w->flows[i], out), is);
		}
		assert_true(begins(&w->flows[0], &w->flows[0], out));
		assert_false(begins(&w->flows[0], &w->flows[1], out));
		assert_false(begins(&w->flows[1], &w->flows[0], out));
		/* The far end has that port, but not that address. */
		assert_false(begins(&mine, &w->flows[0], out));
		assert_true(begins(&mine, &other, out));
	}
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	if (w)
		set_flows(w);
	return w ? 0 : -1;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_directions_are_left_out_of_every_link),
		TEST(a_packet_with_any_other_address_or_port_stays),
		TEST(what_is_too_short_to_tell_stays),
		TEST(udp_fragments_and_second_tags_stay),
		TEST(other_types_stay_whatever_is_in_them),
		TEST(the_program_agrees_with_libpcaps_of_the_same_words),
		TEST(what_stays_goes_through_the_captures_own_filter),
		TEST(a_short_snaplen_lets_nothing_through),
		TEST(hundreds_of_connections_fit_and_too_many_are_refused),
		TEST(the_kernel_takes_it_and_gives_it_back),
		TEST(one_that_ended_stays_for_a_while),
		TEST(a_full_set_gives_up_those_that_have_ended),
		TEST(those_that_are_known_come_first),
		TEST(text_names_both_ends),
		TEST(a_mapped_address_is_an_ipv4_one),
		TEST(one_that_was_reset_before_it_was_accepted_is_in),
		TEST(the_set_is_settled_when_nobody_waits_to_be_accepted),
		TEST(who_listens_is_known_until_it_does_not),
		TEST(a_near_end_is_recognised_on_either_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
