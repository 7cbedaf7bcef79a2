/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compiled filters are kept: what was compiled is not compiled again, those who
 * ask at the same time share one compilation, and bounds hold. Compilations are
 * counted where libpcap is called, in the processes that do it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packet/bpf_cache.h"
#include "packet/bpf_compiler.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ETHERNET 1
#define SNAPLEN 262144
#define TOGETHER 6

/* With the processes that compile. */
static struct {
	atomic_uint compiled;
	atomic_uint held; /* is it to wait? */
} * shared;

int __real_pcap_compile(pcap_t *p, struct bpf_program *program,
			const char *text, int optimize, bpf_u_int32 netmask);
int __wrap_pcap_compile(pcap_t *p, struct bpf_program *program,
			const char *text, int optimize, bpf_u_int32 netmask);

int __wrap_pcap_compile(pcap_t *p, struct bpf_program *program,
			const char *text, int optimize, bpf_u_int32 netmask)
{
	atomic_fetch_add(&shared->compiled, 1);
	while (atomic_load(&shared->held))
		usleep(1000);
	return __real_pcap_compile(p, program, text, optimize, netmask);
}

static bool confine(void *ctx, bool names, struct err *e)
{
	(void)ctx, (void)names, (void)e;
	return true;
}

static int set_up(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return shared != MAP_FAILED &&
			       bpf_compiler_start(NULL, confine, NULL, &e) &&
			       bpf_compiler_ready(&e)
		       ? 0
		       : -1;
}

/* A caller; *looked counts his looks whether to go on. */
struct asking {
	struct filter_request q;
	pthread_t thread;
	atomic_uint looked;
	atomic_bool gone;
	struct bpf_filter *f;
	struct err e;
};

static bool asking_goes_on(void *ctx)
{
	struct asking *a = ctx;

	atomic_fetch_add(&a->looked, 1);
	return !atomic_load(&a->gone);
}

static void *asking_run(void *arg)
{
	struct asking *a = arg;
	uint32_t link_type = 0;

	a->f = bpf_compiler_run(&a->q, &link_type, &a->e);
	if (a->f)
		assert_int_equal(link_type, a->q.link_type);
	return NULL;
}

static struct asking *asking_of(struct filter_request q)
{
	struct asking *a = calloc(1, sizeof(*a));

	a->q = q;
	a->q.go_on = asking_goes_on;
	a->q.ctx = a;
	return a;
}

/* Compilations that it took. */
static unsigned compiled_by(struct filter_request q)
{
	struct asking *a = asking_of(q);
	unsigned before = atomic_load(&shared->compiled);

	asking_run(a);
	if (!a->f)
		fail_msg("%s: %s", q.text, a->e.what);
	bpf_filter_free(a->f);
	free(a);
	return atomic_load(&shared->compiled) - before;
}

static struct filter_request plain(const char *text)
{
	return (struct filter_request){
		.text = text, .link_type = ETHERNET, .snaplen = SNAPLEN};
}

static void what_was_compiled_is_not_compiled_again(void **state)
{
	const char *text = "host 10.0.0.1 or host 10.0.0.2";
	struct filter_request q = plain(text);

	(void)state;
	assert_int_equal(compiled_by(q), 1);
	assert_int_equal(compiled_by(q), 0);
	q.snaplen = 96;
	assert_int_equal(compiled_by(q), 1);
	q.link_type = 113;
	assert_int_equal(compiled_by(q), 1);
	q.operator= true;
	assert_int_equal(compiled_by(q), 1);
	assert_int_equal(compiled_by(plain("host 10.0.0.1")), 1);
	assert_int_equal(compiled_by(plain(text)), 0);
	assert_int_equal(compiled_by(q), 0);
}

static void what_is_kept_is_the_same_program(void **state)
{
	struct filter_request q = plain("udp port 53 and host 10.0.0.3");
	struct err e = ERR_INIT;
	uint32_t ignored;
	size_t n[3];
	struct bpf_filter *f[3] = {
		bpf_compiler_run(&q, &ignored, &e),
		bpf_compiler_run(&q, &ignored, &e),
		bpf_filter_compile(q.text, ETHERNET, SNAPLEN, &e)};

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_non_null(f[i]);
		const void *program = bpf_filter_bytes(f[i], &n[i]);
		assert_int_equal(n[i], n[0]);
		assert_memory_equal(program, bpf_filter_bytes(f[0], &n[0]),
				    n[0]);
	}
	for (int i = 0; i < 3; i++)
		bpf_filter_free(f[i]);
}

/* TOGETHER callers, while the compilation is held, each seen to wait. */
static void begin_together(struct asking *all[], struct filter_request q)
{
	atomic_store(&shared->held, 1);
	for (int i = 0; i < TOGETHER; i++) {
		all[i] = asking_of(q);
		pthread_create(&all[i]->thread, NULL, asking_run, all[i]);
		/* The first one is who compiles. */
		while (atomic_load(&all[i]->looked) < 2)
			usleep(1000);
	}
}

static void end_together(struct asking *all[])
{
	atomic_store(&shared->held, 0);
	for (int i = 0; i < TOGETHER; i++)
		pthread_join(all[i]->thread, NULL);
}

static void free_together(struct asking *all[])
{
	for (int i = 0; i < TOGETHER; i++) {
		bpf_filter_free(all[i]->f);
		free(all[i]);
	}
}

static void who_asks_at_the_same_time_waits_for_one(void **state)
{
	unsigned before = atomic_load(&shared->compiled);
	struct asking *all[TOGETHER];

	(void)state;
	begin_together(all, plain("host 10.0.0.4"));
	end_together(all);
	assert_int_equal(atomic_load(&shared->compiled) - before, 1);
	for (int i = 0; i < TOGETHER; i++)
		assert_non_null(all[i]->f);
	free_together(all);
}

static void an_error_is_shared_and_soon_forgotten(void **state)
{
	struct filter_request q = plain("vlan 99999");
	struct asking *all[TOGETHER];
	unsigned before = atomic_load(&shared->compiled);

	(void)state;
	begin_together(all, q);
	end_together(all);
	/* Who looks after BPF_CACHE_ERROR_NS compiles it again. */
	assert_in_range(atomic_load(&shared->compiled) - before, 1,
			TOGETHER - 1);
	for (int i = 0; i < TOGETHER; i++) {
		assert_null(all[i]->f);
		assert_int_equal(all[i]->e.kind, ERR_USAGE);
		assert_string_equal(all[i]->e.what, all[0]->e.what);
		assert_string_equal(all[i]->e.hint, all[0]->e.hint);
	}
	free_together(all);
}

/* Who compiled for all has gone: another one does. */
static void the_others_go_on_without_the_first(void **state)
{
	struct asking *all[TOGETHER];

	(void)state;
	begin_together(all, plain("host 10.0.0.5"));
	atomic_store(&all[0]->gone, true);
	pthread_join(all[0]->thread, NULL);
	assert_int_equal(all[0]->e.kind, ERR_CANCELLED);
	atomic_store(&shared->held, 0);
	for (int i = 1; i < TOGETHER; i++) {
		pthread_join(all[i]->thread, NULL);
		assert_non_null(all[i]->f);
	}
	free_together(all);
}

static void a_new_bound_holds_for_what_is_kept(void **state)
{
	struct filter_request q = plain("host 10.0.0.6 or host 10.0.0.7");
	struct err e = ERR_INIT;
	uint32_t ignored;

	(void)state;
	assert_int_equal(compiled_by(q), 1);
	bpf_filter_configure(BPF_FILTER_TEXT_MAX, 4);
	assert_null(bpf_compiler_run(&q, &ignored, &e));
	bpf_filter_configure(BPF_FILTER_TEXT_MAX, BPF_FILTER_INSNS_MAX);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_non_null(strstr(e.what, "max-filter-program is 4"));
	assert_int_equal(compiled_by(q), 0);
}

/* --- without processes, and with a clock of our own --- */

static bool kept(const char *text, int64_t now_ns)
{
	struct filter_key k = {text, ETHERNET, 1, false};
	struct bpf_filter *f = NULL;
	struct err e = ERR_INIT;
	enum filter_found found = bpf_cache_find(&k, now_ns, &f, &e);

	bpf_filter_free(f);
	if (found == FILTER_MISSING) {
		e.kind = ERR_CANCELLED;
		bpf_cache_put(&k, now_ns, NULL, &e);
	}
	return found == FILTER_FOUND || found == FILTER_FOUND_ERROR;
}

/* A program of n instructions; 0: an error. */
static void keep(const char *text, int64_t now_ns, unsigned n)
{
	struct filter_key k = {text, ETHERNET, 1, false};
	struct bpf_insn insns[BPF_FILTER_INSNS_MAX];
	struct bpf_filter *none = NULL, f = {.program = {n, insns}};
	struct err e = {.kind = ERR_USAGE, .what = "no"};

	for (unsigned i = 0; i < n; i++)
		insns[i] = (struct bpf_insn)BPF_STMT(BPF_RET | BPF_K, 1);
	assert_int_equal(bpf_cache_find(&k, now_ns, &none, &e), FILTER_MISSING);
	bpf_cache_put(&k, now_ns, n ? &f : NULL, &e);
}

static void names_and_errors_do_not_stay(void **state)
{
	(void)state;
	keep("host name.test", 0, 1);
	keep("host 10.0.0.8", 0, 1);
	keep("host 10.0.0.9 zork", 0, 0);
	assert_true(kept("host 10.0.0.9 zork", BPF_CACHE_ERROR_NS - 1));
	assert_false(kept("host 10.0.0.9 zork", BPF_CACHE_ERROR_NS));
	assert_true(kept("host name.test", BPF_CACHE_NAMES_NS - 1));
	assert_false(kept("host name.test", BPF_CACHE_NAMES_NS));
	assert_true(kept("host 10.0.0.8", INT64_MAX - 1));
}

static unsigned count_kept(const char *word, unsigned n)
{
	unsigned found = 0;
	char text[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%s %u", word, i);
		found += kept(text, 0);
	}
	return found;
}

static void fill_with(const char *word, unsigned n, unsigned instructions)
{
	char text[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%s %u", word, i);
		keep(text, 0, instructions);
		snprintf(text, sizeof(text), "%s 0", word);
		assert_true(kept(text, 0));
	}
}

static void what_is_kept_is_bounded(void **state)
{
	unsigned large = BPF_CACHE_BYTES /
			 (BPF_FILTER_INSNS_MAX * sizeof(struct bpf_insn));

	(void)state;
	fill_with("port", 2 * BPF_CACHE_MAX, 1);
	/* What is asked for again and again stays, the oldest do not. */
	assert_true(kept("port 0", 0));
	assert_false(kept("port 1", 0));
	assert_int_equal(count_kept("port", 2 * BPF_CACHE_MAX), BPF_CACHE_MAX);
	/* Bytes count as well: large ones leave nothing of these. */
	fill_with("vlan", 2 * large, BPF_FILTER_INSNS_MAX);
	/* Keys take a little, too. */
	assert_int_equal(count_kept("port", 2 * BPF_CACHE_MAX), 0);
	assert_int_equal(count_kept("vlan", 2 * large), large - 1);
}

static void names_are_told_from_numbers(void **state)
{
	static const char *const with[] = {"host a.test",
					   "host cafe.de",
					   "port http",
					   "udp port domain",
					   "ip proto \\tcp",
					   "host \\tcp",
					   "host 1.2.3.4.5",
					   "host 1-2",
					   "net loopback",
					   "gateway 10.0.0.1",
					   "portrange 1-2 and host 1-2",
					   "ether host fake",
					   "host 1x2",
					   "tcp or http"};
	static const char *const without[] = {
		"",
		"host 10.0.0.1 or 10.0.0.2",
		"not (tcp port 80)",
		"net 10.0.0.0/8 and !udp",
		"portrange 1-2 or 3-4",
		"ip6 host fe80::1 || ether host 00:00:5e:00:53:01",
		"tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
		"ether[12:2]=0x88cc && len <= 0xff",
		"vlan 7 and net 10.0 mask 255.255.0.0"};

	(void)state;
	for (size_t i = 0; i < sizeof(with) / sizeof(*with); i++)
		if (!filter_has_names(with[i]))
			fail_msg("no name: %s", with[i]);
	for (size_t i = 0; i < sizeof(without) / sizeof(*without); i++)
		if (filter_has_names(without[i]))
			fail_msg("a name: %s", without[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_compiled_is_not_compiled_again),
		cmocka_unit_test(what_is_kept_is_the_same_program),
		cmocka_unit_test(who_asks_at_the_same_time_waits_for_one),
		cmocka_unit_test(an_error_is_shared_and_soon_forgotten),
		cmocka_unit_test(the_others_go_on_without_the_first),
		cmocka_unit_test(a_new_bound_holds_for_what_is_kept),
		cmocka_unit_test(names_and_errors_do_not_stay),
		cmocka_unit_test(what_is_kept_is_bounded),
		cmocka_unit_test(names_are_told_from_numbers),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
