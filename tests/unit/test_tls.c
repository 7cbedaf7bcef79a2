/* SPDX-License-Identifier: BSD-3-Clause */
/* Handshakes, and the pump between TLS and a plain socket. */
#include "tls/allow.h"
#include "tls/ca.h"
#include "tls/pump.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000
#define MANY (24u << 20)

/* One end: a link with its pump on a thread, and what gRPC would have. */
struct end {
	struct tls_link *link;
	pthread_t thread;
	int plain, mine;
	bool ok;
	struct err e;
};

struct world {
	char folder[64], path[5][96];
	struct ssl_ctx_st *server, *client;
	struct end near, far;
};

enum { CA, CA_KEY, CERT, KEY, BUNDLE };

static int set_up(void **state)
{
	static const char *const names[] = {"127.0.0.1", "localhost"};
	static const char *const files[] = {"ca", "ca.key", "crt", "key",
					    "bundle"};
	struct world *w = calloc(1, sizeof(*w));
	struct tls_wanted wanted = {.name = "server",
				    .names = names,
				    .n_names = 2,
				    .from_s = time(NULL) - 60,
				    .until_s = time(NULL) + 3600};
	struct tls_cert made;
	struct err e = ERR_INIT;

	/* Apart from w, which gcc cannot tell w->path from w->folder in. */
	char folder[] = "/tmp/pcapd-test-XXXXXX";

	assert_non_null(mkdtemp(folder));
	strcpy(w->folder, folder);
	for (int i = 0; i < 5; i++)
		snprintf(w->path[i], sizeof(w->path[i]), "%s/%s", folder,
			 files[i]);
	assert_true(ca_ca(w->path[CA], w->path[CA_KEY], &e));
	assert_true(ca_cert(w->path[CA], w->path[CA_KEY], &wanted,
			    w->path[CERT], w->path[KEY], &made, &e));
	wanted.name = "alice";
	wanted.n_names = 0;
	assert_true(ca_cert(w->path[CA], w->path[CA_KEY], &wanted,
			    w->path[BUNDLE], NULL, &made, &e));
	struct tls_files s = {w->path[CERT], w->path[KEY], w->path[CA]};
	struct tls_files c = {w->path[BUNDLE], w->path[BUNDLE],
			      w->path[BUNDLE]};
	w->server = tls_server_new(&s, &e);
	w->client = tls_client_new(&c, NULL, &e);
	assert_non_null(w->server);
	assert_non_null(w->client);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 5; i++)
		unlink(w->path[i]);
	rmdir(w->folder);
	tls_context_free(w->server);
	tls_context_free(w->client);
	free(w);
	return 0;
}

static void connect_pair(int fds[2])
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(l, (void *)&a, sizeof(a)), 0);
	assert_int_equal(listen(l, 1), 0);
	getsockname(l, (void *)&a, &n);
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fds[0], (void *)&a, sizeof(a)), 0);
	fds[1] = accept(l, NULL, NULL);
	close(l);
}

static void *end_main(void *arg)
{
	struct end *end = arg;

	end->ok = tls_shake_hands(end->link, PATIENCE_MS, &end->e);
	if (end->ok)
		tls_pump(end->link, end->plain, NULL);
	else
		tls_cut(end->link);
	shutdown(end->plain, SHUT_RDWR);
	return NULL;
}

static void end_start(struct end *end, struct tls_link *link)
{
	int fds[2];

	assert_non_null(link);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	*end = (struct end){.link = link, .plain = fds[0], .mine = fds[1]};
	fcntl(fds[1], F_SETFL, 0); /* ours blocks */
	assert_int_equal(pthread_create(&end->thread, NULL, end_main, end), 0);
}

static void end_done(struct end *end)
{
	pthread_join(end->thread, NULL);
	tls_link_free(end->link);
	close(end->plain);
	close(end->mine);
}

static bool everybody(void *ctx, const struct tls_cert *cert, char *why,
		      size_t room)
{
	(void)why;
	(void)room;
	snprintf(ctx, 128, "%s", cert->name);
	return true;
}

static bool nobody(void *ctx, const struct tls_cert *cert, char *why,
		   size_t room)
{
	(void)ctx;
	snprintf(why, room, "%s may not", cert->name);
	return false;
}

static void start(struct world *w, tls_admit admit, char name[128],
		  const char *host)
{
	int fds[2];
	struct err e = ERR_INIT;

	connect_pair(fds);
	end_start(&w->far, tls_link_server(w->server, fds[1], admit, name, &e));
	end_start(&w->near, tls_link_client(w->client, fds[0], host, &e));
}

/* Numbers that depend on where they stand and on the direction. */
static void fill(uint8_t *bytes, size_t n, size_t at, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)((at + i) * 31 + ((at + i) >> 9) + seed);
}

struct flood {
	int fd;
	unsigned seed;
	size_t n, bad;
};

static void *send_all(void *arg)
{
	const struct flood *f = arg;
	uint8_t bytes[50000];

	for (size_t at = 0; at < f->n;) {
		size_t n =
			f->n - at < sizeof(bytes) ? f->n - at : sizeof(bytes);
		fill(bytes, n, at, f->seed);
		ssize_t sent = send(f->fd, bytes, n, MSG_NOSIGNAL);
		if (sent <= 0)
			break;
		at += (size_t)sent;
	}
	return NULL;
}

static void *receive_all(void *arg)
{
	struct flood *f = arg;
	uint8_t got[65536], want[65536];
	size_t at = 0;

	while (at < f->n) {
		ssize_t n = recv(f->fd, got, sizeof(got), 0);
		if (n <= 0)
			break;
		fill(want, (size_t)n, at, f->seed);
		f->bad += memcmp(got, want, (size_t)n) != 0;
		at += (size_t)n;
	}
	f->bad += at != f->n;
	return NULL;
}

/* The server speaks first, as gRPC's does: a client waits for that. */
static void first_byte(struct world *w)
{
	char c = '!';

	assert_int_equal(send(w->far.mine, &c, 1, 0), 1);
	assert_int_equal(recv(w->near.mine, &c, 1, 0), 1);
}

static void bytes_go_both_ways_at_once_and_stay_as_they_are(void **state)
{
	struct world *w = *state;
	char name[128] = "";

	start(w, everybody, name, "127.0.0.1");
	first_byte(w);
	struct flood floods[] = {{w->near.mine, 1, MANY, 0},
				 {w->far.mine, 1, MANY, 0},
				 {w->far.mine, 2, MANY, 0},
				 {w->near.mine, 2, MANY, 0}};
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL,
			       i % 2 ? receive_all : send_all, &floods[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++)
		assert_int_equal(floods[i].bad, 0);
	assert_string_equal(name, "alice");
	shutdown(w->near.mine, SHUT_RDWR);
	end_done(&w->near);
	end_done(&w->far);
}

static void what_was_written_before_the_end_arrives(void **state)
{
	struct world *w = *state;
	char name[128];

	start(w, everybody, name, "localhost");
	first_byte(w);
	struct flood out = {w->far.mine, 3, 3 << 20, 0};
	struct flood in = {w->near.mine, 3, 3 << 20, 0};
	pthread_t thread;
	pthread_create(&thread, NULL, receive_all, &in);
	send_all(&out);
	shutdown(w->far.mine, SHUT_RDWR);
	pthread_join(thread, NULL);
	assert_int_equal(in.bad, 0);
	char c;
	assert_int_equal(recv(w->near.mine, &c, 1, 0), 0);
	end_done(&w->far);
	end_done(&w->near);
}

static void a_cut_ends_both(void **state)
{
	struct world *w = *state;
	char name[128], c;

	start(w, everybody, name, "127.0.0.1");
	first_byte(w);
	tls_cut(w->far.link);
	assert_int_equal(recv(w->near.mine, &c, 1, 0), 0);
	assert_int_equal(recv(w->far.mine, &c, 1, 0), 0);
	end_done(&w->far);
	end_done(&w->near);
}

static void who_is_not_admitted_hears_that_it_was_revoked(void **state)
{
	struct world *w = *state;

	start(w, nobody, NULL, "127.0.0.1");
	end_done(&w->far);
	end_done(&w->near);
	assert_false(w->far.ok || w->near.ok);
	assert_int_equal(w->far.e.kind, ERR_PERMISSION);
	assert_string_equal(w->far.e.what, "alice may not");
	assert_int_equal(w->near.e.kind, ERR_PERMISSION);
	assert_non_null(strstr(w->near.e.what, "it was revoked"));
}

static void a_server_must_have_the_name_that_was_asked_for(void **state)
{
	struct world *w = *state;
	char name[128];

	start(w, everybody, name, "elsewhere.example");
	end_done(&w->near);
	end_done(&w->far);
	assert_string_equal(w->near.e.what,
			    "the certificate of server is not for "
			    "elsewhere.example");
}

static void a_silent_peer_is_not_waited_for(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	char name[128];
	int fds[2];

	connect_pair(fds);
	struct tls_link *l =
		tls_link_server(w->server, fds[1], everybody, name, &e);
	assert_non_null(l);
	assert_false(tls_shake_hands(l, 50, &e));
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	assert_string_equal(e.what, "TLS: the handshake took too long");
	tls_link_free(l);
	close(fds[0]);
}

static void a_key_for_everybody_is_none(void **state)
{
	struct world *w = *state;
	struct tls_files f = {w->path[CERT], w->path[KEY], w->path[CA]};
	struct err e = ERR_INIT;
	char hint[128];

	assert_int_equal(chmod(w->path[KEY], 0644), 0);
	assert_null(tls_server_new(&f, &e));
	assert_int_equal(e.kind, ERR_PERMISSION);
	snprintf(hint, sizeof(hint), "chmod 600 %s", w->path[KEY]);
	assert_string_equal(e.hint, hint);
}

static void nothing_is_written_over(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;

	assert_false(ca_ca(w->path[CA], w->path[CA_KEY], &e));
	assert_int_equal(e.kind, ERR_EXISTS);
}

static void a_line_that_is_gone_lets_nobody_in(void **state)
{
	struct world *w = *state;
	struct allowed one = {.role = ROLE_OPERATOR, .name = "bob"}, found;
	struct err e = ERR_INIT;
	char path[128];
	size_t n;

	snprintf(path, sizeof(path), "%s/allow", w->folder);
	memset(one.fingerprint, 'c', FINGERPRINT_TEXT - 1);
	struct allow *a = allow_open(path, &e);
	assert_false(allow_find(a, one.fingerprint, &found));
	assert_true(allow_add(path, &one, &e));
	assert_true(allow_refresh(a));
	assert_false(allow_refresh(a));
	assert_true(allow_find(a, one.fingerprint, &found));
	assert_int_equal(found.role, ROLE_OPERATOR);
	assert_true(allow_remove(path, "bob", &n, &e));
	assert_int_equal(n, 1);
	assert_false(allow_remove(path, "bob", &n, &e));
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_true(allow_refresh(a));
	assert_false(allow_find(a, one.fingerprint, &found));
	unlink(path);
	allow_refresh(a);
	assert_false(allow_find(a, one.fingerprint, &found));
	allow_close(a);
	strcat(path, ".lock");
	unlink(path);
}

/* Lines of older versions do not say until when. */
static void the_list_says_until_when(void **state)
{
	struct world *w = *state;
	struct allowed one = {.role = ROLE_VIEWER, .name = "eve"}, *all;
	struct err e = ERR_INIT;
	char path[128], print[FINGERPRINT_TEXT] = "";
	size_t n;

	snprintf(path, sizeof(path), "%s/allow", w->folder);
	memset(print, 'a', FINGERPRINT_TEXT - 1);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%s viewer adam\n", print);
	fclose(f);
	memset(one.fingerprint, 'b', FINGERPRINT_TEXT - 1);
	one.until_s = 4102444799; /* 2099-12-31T23:59:59Z */
	assert_true(allow_add(path, &one, &e));
	assert_true(allow_read(path, &all, &n, &e));
	assert_int_equal(n, 2);
	assert_int_equal(all[0].until_s, 0);
	assert_string_equal(all[0].name, "adam");
	assert_int_equal(all[1].until_s, one.until_s);
	free(all);
	f = fopen(path, "a");
	fprintf(f, "%s viewer adam tomorrow\n", print);
	fclose(f);
	assert_false(allow_read(path, &all, &n, &e));
	assert_non_null(strstr(e.what, ":3: expected a fingerprint, a role, a "
				       "name and perhaps until when"));
	unlink(path);
	strcat(path, ".lock");
	unlink(path);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_go_both_ways_at_once_and_stay_as_they_are),
		TEST(what_was_written_before_the_end_arrives),
		TEST(a_cut_ends_both),
		TEST(who_is_not_admitted_hears_that_it_was_revoked),
		TEST(a_server_must_have_the_name_that_was_asked_for),
		TEST(a_silent_peer_is_not_waited_for),
		TEST(a_key_for_everybody_is_none),
		TEST(nothing_is_written_over),
		TEST(a_line_that_is_gone_lets_nobody_in),
		TEST(the_list_says_until_when),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
