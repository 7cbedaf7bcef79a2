/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filters: what libpcap takes is taken, what it refuses is refused with its
 * words and the word of the text that it is about.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packet/bpf_filter.h"

#include <stdio.h>
#include <stdlib.h>

#define ETHERNET 1

static struct bpf_filter *must(const char *text)
{
	struct err e = ERR_INIT;
	struct bpf_filter *f = bpf_filter_compile(text, ETHERNET, 262144, &e);

	if (!f)
		fail_msg("%s: %s", text, e.what);
	return f;
}

static bool same(const char *a, const char *b)
{
	struct bpf_filter *fa = must(a), *fb = must(b);
	size_t na, nb;
	const void *pa = bpf_filter_bytes(fa, &na),
		   *pb = bpf_filter_bytes(fb, &nb);
	bool r = na == nb && memcmp(pa, pb, na) == 0;

	bpf_filter_free(fa);
	bpf_filter_free(fb);
	return r;
}

static void spelling_does_not_matter(void **state)
{
	(void)state;
	assert_true(same("tcp port 80", "tcp  port http"));
	assert_true(same("", "  \t\n"));
	assert_true(same("tcp or udp", "(ip proto \\tcp or ip6 proto \\tcp) "
				       "or udp"));
	assert_false(same("tcp port 80", "tcp port 81"));
	assert_false(same("tcp port 80", ""));
}

static void empty_text_takes_everything(void **state)
{
	struct bpf_filter *f = must("");
	struct packet_head h = {.caplen = 0, .len = 60};

	(void)state;
	assert_true(bpf_filter_matches(f, &h, (const uint8_t *)""));
	bpf_filter_free(f);
}

/* Frames that are only as much of a packet as the filters look at. */
static void packets_are_told_apart(void **state)
{
	uint8_t frame[60] = {[12] = 0x08, [14] = 0x45, [23] = 17};
	struct packet_head h = {.caplen = 60, .len = 60};
	struct bpf_filter *udp = must("udp"), *tcp = must("tcp"),
			  *large = must("greater 100");

	(void)state;
	assert_true(bpf_filter_matches(udp, &h, frame));
	assert_false(bpf_filter_matches(tcp, &h, frame));
	assert_false(bpf_filter_matches(large, &h, frame));
	h.len = 100; /* on the wire; captured are 60 */
	assert_true(bpf_filter_matches(large, &h, frame));
	h.caplen = 20; /* the protocol's byte was not captured */
	assert_false(bpf_filter_matches(udp, &h, frame));
	bpf_filter_free(udp);
	bpf_filter_free(tcp);
	bpf_filter_free(large);
}

#define SYNTAX "filter: can't parse filter expression: syntax error "

static void errors_name_the_word(void **state)
{
	static const struct {
		const char *text, *what;
	} cases[] = {
		{"tcp prot 80", SYNTAX "at \"prot\""},
		{"frobnicate", SYNTAX "at \"frobnicate\""},
		{"tcp port", SYNTAX "at the end of the expression"},
		{"tcp port 80 and", SYNTAX "at the end of the expression"},
		{"(tcp", SYNTAX "at the end of the expression"},
		{"not", SYNTAX "at the end of the expression"},
		{"ether host", SYNTAX "at the end of the expression"},
		{"tcp port 80)", SYNTAX "at \"80)\""},
		{"tcp port 80 )", SYNTAX "at \")\""},
		{"(tcp prot 80)", SYNTAX "at \"prot\""},
		{"tcp and and udp", SYNTAX "at \"and\""},
		{"and tcp", SYNTAX "at \"and\""},
		{"host 1.2.3.4 tcp", SYNTAX "at \"tcp\""},
		{"ip[0] = z and tcp", SYNTAX "at \"z\""},
		{"ip[0 and tcp", SYNTAX "at \"and\""},
		{"(ip[2:2] - 20) tcp", SYNTAX "at \"tcp\""},
		{"tcp and ((len + 4) > 5 and port)", SYNTAX "at \"port)\""},
		{"ether host 00:11:22:33:44:55 oder tcp", SYNTAX "at \"oder\""},
		{"net 10.0.0.0 mask 255.0.0.0 tcp", SYNTAX "at \"tcp\""},
		{"tcp portrange 1-2 or udp portrang 3-4",
		 SYNTAX "at \"portrang\""},
		{"tcp @", SYNTAX "at \"@\""},
		{"mpls 1 and bogus",
		 "filter: syntax error in filter expression at \"bogus\""},
		{"port nosuchport", "filter: unknown port 'nosuchport'"},
		{"tcp port 80 and foo bar", "filter: unknown port 'foo'"},
		{"net 1.2.3.4/40", "filter: mask length must be <= 32"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct err e = ERR_INIT;

		assert_null(bpf_filter_compile(cases[i].text, ETHERNET, 262144,
					       &e));
		assert_int_equal(e.kind, ERR_USAGE);
		assert_string_equal(e.what, cases[i].what);
		assert_string_equal(e.hint,
				    "pcap-filter(7) describes filters.");
	}
}

static void a_long_wrong_word_is_cut(void **state)
{
	char text[300] = "tcp and ";
	struct err e = ERR_INIT;

	(void)state;
	memset(text + 8, '@', 200);
	assert_null(bpf_filter_compile(text, ETHERNET, 262144, &e));
	assert_string_equal(e.what + strlen(e.what) - 6, "@@...\"");
	assert_true(strlen(e.what) < 150);
}

static void long_text_is_over_a_limit(void **state)
{
	static char text[BPF_FILTER_TEXT_MAX + 2];
	struct err e = ERR_INIT;

	(void)state;
	memset(text, ' ', BPF_FILTER_TEXT_MAX + 1);
	assert_null(bpf_filter_compile(text, ETHERNET, 262144, &e));
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_string_equal(e.what,
			    "max-filter is 8192 bytes, the filter has 8193");
	text[BPF_FILTER_TEXT_MAX] = '\0';
	bpf_filter_free(must(text));
}

/* Repeats a part of an expression, numbered, as often as there is room. */
static const char *many(const char *part, size_t room)
{
	static char text[BPF_FILTER_TEXT_MAX + 1];
	size_t n = (size_t)snprintf(text, sizeof(text), "tcp");

	for (int i = 1; n + 40 < room; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, " or ");
		n += (size_t)snprintf(text + n, sizeof(text) - n, part, i);
	}
	return text;
}

static void long_program_is_over_a_limit(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_null(bpf_filter_compile(many("vlan %d", BPF_FILTER_TEXT_MAX),
				       ETHERNET, 262144, &e));
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_non_null(strstr(e.what, "max-filter-program is 4096 "
				       "instructions, the filter needs "));
}

static void what_would_take_minutes_to_optimize_is_over_a_limit(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_null(bpf_filter_compile(many("port %d", 5000), ETHERNET, 262144,
				       &e));
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_non_null(strstr(e.what, "max-filter-program is 4096 "
				       "instructions, the filter has "));
	assert_non_null(strstr(e.what, " before optimization, over 3 times"));
	bpf_filter_free(must(many("port %d", 1500)));
}

static void bounds_are_as_configured(void **state)
{
	static const char text[] = "tcp or udp or icmp or arp";
	struct err e = ERR_INIT;

	(void)state;
	struct bpf_filter *before = must(text);
	bpf_filter_configure(24, 4096);
	assert_null(bpf_filter_compile(text, ETHERNET, 262144, &e));
	assert_string_equal(e.what,
			    "max-filter is 24 bytes, the filter has 25");
	bpf_filter_configure(25, before->program.bf_len - 1);
	assert_null(bpf_filter_compile(text, ETHERNET, 262144, &e));
	assert_non_null(strstr(e.what, "max-filter-program is "));
	assert_false(bpf_filter_fits(text, before, &e));
	bpf_filter_configure(25, before->program.bf_len);
	assert_true(bpf_filter_fits(text, before, &e));
	bpf_filter_free(must(text));
	bpf_filter_configure(BPF_FILTER_TEXT_MAX, BPF_FILTER_INSNS_MAX);
	bpf_filter_free(before);
}

static void a_mistake_at_the_end_of_a_long_text_is_found(void **state)
{
	char text[BPF_FILTER_TEXT_MAX + 1];
	struct err e = ERR_INIT;

	(void)state;
	snprintf(text, sizeof(text), "%s or and 5", many("len > %d", 1000));
	assert_null(bpf_filter_compile(text, ETHERNET, 262144, &e));
	assert_string_equal(e.what, SYNTAX "at \"and\"");
}

static void link_types_are_libpcaps(void **state)
{
	/* DLT_RAW is 12 here and 101 in files; Ethernet is 1 in both. */
	static const struct {
		int dlt;
		uint32_t link_type;
	} pairs[] = {
		{DLT_EN10MB, 1},      {DLT_RAW, 101},	     {DLT_NULL, 0},
		{DLT_LINUX_SLL, 113}, {DLT_LINUX_SLL2, 276}, {DLT_PPP, 9},
		{DLT_C_HDLC, 104},    {DLT_IEEE802_11, 105}, {DLT_USER0, 147},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		assert_int_equal(link_type_of_dlt(pairs[i].dlt),
				 pairs[i].link_type);
		assert_int_equal(dlt_of_link_type(pairs[i].link_type),
				 pairs[i].dlt);
	}
	/* One that nobody has named stays as it is. */
	assert_int_equal(dlt_of_link_type(59999), 59999);
}

static void filters_are_for_their_link_type(void **state)
{
	struct err e = ERR_INIT;
	struct bpf_filter *raw = bpf_filter_compile("udp", 101, 65535, &e);
	uint8_t packet[28] = {0x45, [9] = 17};
	struct packet_head h = {.caplen = 28, .len = 28};

	(void)state;
	assert_non_null(raw);
	assert_true(bpf_filter_matches(raw, &h, packet));
	bpf_filter_free(raw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spelling_does_not_matter),
		cmocka_unit_test(empty_text_takes_everything),
		cmocka_unit_test(packets_are_told_apart),
		cmocka_unit_test(errors_name_the_word),
		cmocka_unit_test(a_long_wrong_word_is_cut),
		cmocka_unit_test(long_text_is_over_a_limit),
		cmocka_unit_test(long_program_is_over_a_limit),
		cmocka_unit_test(
			what_would_take_minutes_to_optimize_is_over_a_limit),
		cmocka_unit_test(bounds_are_as_configured),
		cmocka_unit_test(a_mistake_at_the_end_of_a_long_text_is_found),
		cmocka_unit_test(link_types_are_libpcaps),
		cmocka_unit_test(filters_are_for_their_link_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
