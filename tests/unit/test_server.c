/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server as its clients see it, over a real socket, with captures that are
 * imported (which needs no privilege): a listener and a live replay see an
 * import into a capture that is there already as they would see an interface.
 */
#include "loopback_peer.h"
#include "server/server.h"
#include "traffic.h"

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "pcap/v1/pcap.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PACKETS 600
#define FRAME 1000
#define GRACE_MS 2000

struct world {
	char folder[64];
	struct config config;
	struct control *control;
	struct server *server;
	struct test_peer peer;
	struct exchange x;
	struct err e;
};

#define PCAP "/pcap.v1.Pcap/"
#define ANSWER(type) &pcap__v1__##type##__descriptor

/* --- fixtures --- */

static void start(struct world *w)
{
	w->control = control_open(&w->config, &w->e);
	if (!w->control)
		fail_msg("%s", w->e.what);
	w->server = server_start(w->control, &w->config, &w->e);
	if (!w->server)
		fail_msg("%s", w->e.what);
	test_peer_open(&w->peer, w->config.socket);
}

static void stop(struct world *w)
{
	server_stop(w->server, GRACE_MS);
	w->server = NULL;
	test_peer_close(&w->peer);
	control_stop(w->control);
	control_close(w->control);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	strcpy(w->folder, "/tmp/pcapd-test-XXXXXX");
	assert_non_null(mkdtemp(w->folder));
	config_defaults(&w->config);
	snprintf(w->config.spool, CONFIG_PATH_MAX, "%s/spool", w->folder);
	snprintf(w->config.socket, CONFIG_PATH_MAX, "%s/sock", w->folder);
	w->config.socket_group[0] = '\0';
	start(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[128];

	if (w->server)
		stop(w);
	snprintf(command, sizeof(command), "rm -rf %s", w->folder);
	assert_int_equal(system(command), 0);
	free(w);
	return 0;
}

static uint8_t savefile[TRAFFIC_SAVEFILE_BYTES(PACKETS, FRAME)];

static Pcap__V1__ImportResponse *import(struct world *w, const char *alias,
					size_t bytes)
{
	Pcap__V1__ImportRequest r = PCAP__V1__IMPORT_REQUEST__INIT;

	exchange_open(&w->x, &w->peer, PCAP "Import");
	r.alias = (char *)alias;
	r.file = "made.pcap";
	for (size_t at = 0; at < bytes; at += r.data.len) {
		r.data.data = savefile + at;
		r.data.len = bytes - at < 100000 ? bytes - at : 100000;
		if (!exchange_send_message(&w->x, &r.base))
			break;
		r.alias = r.file = "";
	}
	exchange_half_close(&w->x);
	ProtobufCMessage *m = exchange_receive(&w->x, ANSWER(import_response));
	exchange_finish(&w->x);
	return (Pcap__V1__ImportResponse *)m;
}

static void imported(struct world *w, const char *alias)
{
	Pcap__V1__ImportResponse *r = import(w, alias, sizeof(savefile));

	if (!r)
		fail_msg("%s", w->x.text);
	assert_int_equal(r->packets, PACKETS);
	assert_string_equal(r->incomplete, "");
	pcap__v1__import_response__free_unpacked(r, NULL);
}

static void refused(struct world *w, const char *method,
		    const ProtobufCMessage *m, grpc_status_code status,
		    const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), PCAP "%s", method);
	assert_null(exchange_once(&w->x, &w->peer, path, m,
				  ANSWER(replay_response)));
	assert_string_equal(w->x.text, text);
	assert_int_equal(w->x.status, status);
}

/* --- streams --- */

struct taken {
	struct exchange x;
	uint8_t bytes[24 + 3 * sizeof(savefile)];
	size_t n;
	uint64_t packets, lost;
	bool ended;
	Pcap__V1__End end;
	char note[128];
};

/* The next message; false: there is none. */
static bool take(struct taken *t)
{
	Pcap__V1__ReplayResponse *m =
		(void *)exchange_receive(&t->x, ANSWER(replay_response));
	ProtobufCBinaryData data = {0};

	if (!m)
		return false;
	assert_false(t->ended);
	switch (m->event_case) {
	case PCAP__V1__REPLAY_RESPONSE__EVENT_HEADER:
		assert_int_equal(t->n, 0);
		data = m->header->savefile_header;
		assert_int_equal(data.len, 24);
		break;
	case PCAP__V1__REPLAY_RESPONSE__EVENT_PACKETS:
		assert_true(t->n >= 24);
		data = m->packets->data;
		t->packets += m->packets->count;
		break;
	case PCAP__V1__REPLAY_RESPONSE__EVENT_LOST:
		t->lost += m->lost->packets;
		break;
	case PCAP__V1__REPLAY_RESPONSE__EVENT_END:
		t->ended = true;
		t->end = *m->end;
		snprintf(t->note, sizeof(t->note), "%s", m->end->note);
		break;
	default:
		fail_msg("an event of no kind");
	}
	assert_true(t->n + data.len <= sizeof(t->bytes));
	if (data.len)
		memcpy(t->bytes + t->n, data.data, data.len);
	t->n += data.len;
	pcap__v1__replay_response__free_unpacked(m, NULL);
	return true;
}

/* Returns when the header is there. */
static struct taken *take_from(struct world *w, const char *method,
			       const ProtobufCMessage *request)
{
	struct taken *t = calloc(1, sizeof(*t));
	char path[128];

	snprintf(path, sizeof(path), PCAP "%s", method);
	exchange_open(&t->x, &w->peer, path);
	exchange_send_message(&t->x, request);
	exchange_half_close(&t->x);
	if (!take(t)) {
		exchange_finish(&t->x);
		fail_msg("%s", t->x.text);
	}
	return t;
}

static void take_packets(struct taken *t, uint64_t packets)
{
	while (t->packets < packets && take(t))
		;
	assert_int_equal(t->packets, packets);
}

static void take_until(struct taken *t, grpc_status_code status)
{
	while (take(t))
		;
	assert_int_equal(exchange_finish(&t->x), status);
	assert_true(t->ended);
	assert_int_equal(t->end.packets, t->packets);
	assert_int_equal(t->end.lost, t->lost);
}

static void take_rest(struct taken *t)
{
	take_until(t, GRPC_STATUS_OK);
}

static struct taken *replay(struct world *w, Pcap__V1__ReplayRequest *r)
{
	struct taken *t = take_from(w, "Replay", &r->base);

	take_rest(t);
	return t;
}

static Pcap__V1__ReplayRequest replay_of(const char *name)
{
	Pcap__V1__ReplayRequest r = PCAP__V1__REPLAY_REQUEST__INIT;

	r.name = (char *)name;
	return r;
}

static Pcap__V1__ListenRequest listen_to(const char *name)
{
	Pcap__V1__ListenRequest r = PCAP__V1__LISTEN_REQUEST__INIT;

	r.name = (char *)name;
	return r;
}

static void delete (struct world *w, const char *name)
{
	Pcap__V1__DeleteRequest r = PCAP__V1__DELETE_REQUEST__INIT;

	r.name = (char *)name;
	ProtobufCMessage *m = exchange_once(&w->x, &w->peer, PCAP "Delete",
					    &r.base, ANSWER(delete_response));
	if (!m)
		fail_msg("%s", w->x.text);
	protobuf_c_message_free_unpacked(m, NULL);
}

/* --- the socket --- */

static void the_socket_is_for_its_group_only(void **state)
{
	struct world *w = *state;
	struct stat st;

	assert_int_equal(stat(w->config.socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
}

/* Starts another server with the same control, which must fail. */
static void cannot_serve(struct world *w, const struct config *c,
			 enum err_kind kind, const char *text)
{
	struct err e = ERR_INIT;

	assert_null(server_start(w->control, c, &e));
	assert_string_equal(e.what, text);
	assert_int_equal(e.kind, kind);
}

static void a_socket_that_is_served_is_not_taken(void **state)
{
	struct world *w = *state;
	char text[640];

	snprintf(text, sizeof(text), "another pcapd serves %s",
		 w->config.socket);
	cannot_serve(w, &w->config, ERR_STATE, text);
	imported(w, "still");
}

static void what_is_in_the_way_is_not_touched(void **state)
{
	struct world *w = *state;
	struct config c = w->config;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char text[640];

	snprintf(c.socket, sizeof(c.socket), "%s/file", w->folder);
	close(open(c.socket, O_CREAT | O_WRONLY, 0600));
	snprintf(text, sizeof(text), "%s is there and is no socket", c.socket);
	cannot_serve(w, &c, ERR_STATE, text);
	assert_int_equal(access(c.socket, F_OK), 0);

	snprintf(c.socket, sizeof(c.socket), "%s/other", w->folder);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/other", w->folder);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(text, sizeof(text), "somebody listens on %s", c.socket);
	cannot_serve(w, &c, ERR_STATE, text);
	close(fd);

	/* Now it is a socket that nobody serves. */
	struct server *s = server_start(w->control, &c, &w->e);
	assert_non_null(s);
	server_stop(s, 0);
	assert_int_equal(access(c.socket, F_OK), -1);
}

static void a_socket_that_cannot_be_is_told(void **state)
{
	struct world *w = *state;
	struct config c = w->config;
	char text[640];

	memset(c.socket, 'x', 108);
	c.socket[0] = '/';
	c.socket[108] = '\0';
	snprintf(text, sizeof(text),
		 "a socket's path has at most 107 bytes, %s has 108", c.socket);
	cannot_serve(w, &c, ERR_USAGE, text);

	strcpy(c.socket, "/nowhere/sock");
	cannot_serve(w, &c, ERR_FAILED,
		     "open /nowhere/sock.lock: No such file or directory");

	snprintf(c.socket, sizeof(c.socket), "%s/group", w->folder);
	strcpy(c.socket_group, "no-such-group");
	cannot_serve(w, &c, ERR_USAGE, "there is no group no-such-group");
	assert_int_equal(access(c.socket, F_OK), -1);
}

static int connected(struct world *w)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/sock", w->folder);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void connections_over_a_peers_bound_are_told(void **state)
{
	struct world *w = *state;
	Pcap__V1__VersionRequest r = PCAP__V1__VERSION_REQUEST__INIT;
	struct test_peer first = w->peer;
	char text[128];

	w->config.max_peer_connections = 1;
	server_configure(w->server, &w->config);
	imported(w, "one");
	snprintf(text, sizeof(text),
		 "max-peer-connections is 1, and user %d has 1",
		 (int)geteuid());
	test_peer_open(&w->peer, w->config.socket);
	refused(w, "Version", &r.base, GRPC_STATUS_RESOURCE_EXHAUSTED, text);
	assert_string_equal(w->x.hint,
			    "Try again when a connection has ended.");
	test_peer_close(&w->peer);
	w->peer = first;
	imported(w, "two");
}

static void who_has_no_place_is_cut_off(void **state)
{
	struct world *w = *state;
	static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
				    "\0\0\0\4\0\0\0\0";
	char bytes[4096];
	int fds[40];

	w->config.handshake_timeout_s = 1;
	stop(w);
	start(w);
	w->config.max_peer_connections = 1;
	server_configure(w->server, &w->config);
	imported(w, "one");
	/* More than hear why, some of them with a word and some without. */
	for (int i = 0; i < 40; i++) {
		fds[i] = connected(w);
		if (i % 2)
			send(fds[i], hello, sizeof(hello), MSG_NOSIGNAL);
	}
	for (int i = 0; i < 40; i++) {
		while (read(fds[i], bytes, sizeof(bytes)) > 0)
			;
		close(fds[i]);
	}
	imported(w, "two");
}

/* Who serves is not held to it: others are, see e2e_roles. */
static void the_servers_own_user_is_not_kept_out(void **state)
{
	struct world *w = *state;

	w->config.max_connections = 1;
	server_configure(w->server, &w->config);
	imported(w, "one");
	int fd = connected(w);
	struct test_peer first = w->peer;
	test_peer_open(&w->peer, w->config.socket);
	imported(w, "two");
	test_peer_close(&w->peer);
	w->peer = first;
	close(fd);
}

/* --- unary calls --- */

static void it_tells_its_version(void **state)
{
	struct world *w = *state;
	Pcap__V1__VersionRequest r = PCAP__V1__VERSION_REQUEST__INIT;
	Pcap__V1__VersionResponse *m =
		(void *)exchange_once(&w->x, &w->peer, PCAP "Version", &r.base,
				      ANSWER(version_response));

	assert_non_null(m);
	assert_string_equal(m->version, PCAPD_VERSION);
	assert_string_equal(m->libpcap, pcap_lib_version());
	pcap__v1__version_response__free_unpacked(m, NULL);
}

static void what_is_out_of_bounds_is_refused(void **state)
{
	struct world *w = *state;
	Pcap__V1__StopRequest name = PCAP__V1__STOP_REQUEST__INIT;
	Pcap__V1__InitRequest init = PCAP__V1__INIT_REQUEST__INIT;
	char text[9000];
	const grpc_status_code invalid = GRPC_STATUS_INVALID_ARGUMENT;

	memset(text, 'x', sizeof(text));
	text[65] = '\0';
	refused(w, "Start", &name.base, invalid,
		"expected the id or an alias of a capture, got nothing");
	name.name = text;
	refused(w, "Stop", &name.base, invalid,
		"expected the id or an alias of a capture, at most 64 "
		"characters, got 65");
	name.all = true;
	refused(w, "Stop", &name.base, invalid,
		"expected a name or all captures, got both");
	init.interface = text;
	refused(w, "Init", &init.base, invalid,
		"expected the name of an interface of at most 63 bytes, got "
		"65");
	text[65] = 'x';
	text[8193] = '\0';
	init.interface = "lo";
	init.filter = text;
	refused(w, "Init", &init.base, GRPC_STATUS_RESOURCE_EXHAUSTED,
		"max-filter is 8192 bytes, the filter has 8193");
	init.filter = "";
	init.snaplen = 262145;
	refused(w, "Init", &init.base, invalid,
		"expected a snaplen of at most 262144, got 262145");
	init.snaplen = 0;
	init.buffer_bytes = 1000;
	refused(w, "Init", &init.base, invalid,
		"expected a buffer of 1048576 to 2146435072 bytes, got 1000");
}

static void filters_and_messages_are_bounded_as_configured(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest replay = PCAP__V1__REPLAY_REQUEST__INIT;
	Pcap__V1__ListenRequest listen = listen_to("one");
	Pcap__V1__InitRequest init = PCAP__V1__INIT_REQUEST__INIT;
	const grpc_status_code exhausted = GRPC_STATUS_RESOURCE_EXHAUSTED;
	static const char text[] = "tcp or udp or arp or icmp";
	static char name[70000];

	imported(w, "one");
	w->config.max_filter = sizeof(text) - 2;
	w->config.max_message = 65536;
	server_configure(w->server, &w->config);
	replay.name = "one";
	init.interface = "lo";
	replay.filter = listen.filter = init.filter = (char *)text;
	refused(w, "Replay", &replay.base, exhausted,
		"max-filter is 24 bytes, the filter has 25");
	refused(w, "Listen", &listen.base, exhausted,
		"max-filter is 24 bytes, the filter has 25");
	refused(w, "Init", &init.base, exhausted,
		"max-filter is 24 bytes, the filter has 25");
	memset(name, 'x', sizeof(name) - 1);
	replay.name = name;
	refused(w, "Replay", &replay.base, exhausted,
		"max-message is 65536 bytes, this one has 70030");
	w->config.max_filter = 8192;
	w->config.max_message = 4 << 20;
	server_configure(w->server, &w->config);
	refused(w, "Replay", &replay.base, exhausted,
		"a request has at most 65536 bytes, this one has 70030");
}

static void a_hint_comes_with_the_status(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest r = replay_of("nobody");

	refused(w, "Replay", &r.base, GRPC_STATUS_NOT_FOUND,
		"no capture 'nobody'");
	assert_string_equal(w->x.hint, "List captures with 'pcap list'.");
}

static grpc_status_code send_raw(struct world *w, const char *path,
				 const void *bytes, size_t n)
{
	exchange_open(&w->x, &w->peer, path);
	if (bytes)
		exchange_send(&w->x, bytes, n);
	exchange_half_close(&w->x);
	assert_null(exchange_receive(&w->x, ANSWER(list_response)));
	return exchange_finish(&w->x);
}

static void what_is_no_request_is_refused(void **state)
{
	struct world *w = *state;
	char *big = calloc(1, 5 << 20);

	assert_int_equal(send_raw(w, PCAP "List", "\xff\xff", 2),
			 GRPC_STATUS_INVALID_ARGUMENT);
	assert_string_equal(w->x.text,
			    "the request is not a pcap.v1.ListRequest message");
	assert_int_equal(send_raw(w, PCAP "List", "\x0a\x01\xff", 3),
			 GRPC_STATUS_INVALID_ARGUMENT);
	assert_string_equal(w->x.text,
			    "the field 'name' of pcap.v1.ListRequest is not "
			    "UTF-8");
	assert_int_equal(send_raw(w, PCAP "List", NULL, 0),
			 GRPC_STATUS_INVALID_ARGUMENT);
	assert_string_equal(w->x.text, "the call has no request");
	assert_int_equal(send_raw(w, PCAP "List", big, 5 << 20),
			 GRPC_STATUS_RESOURCE_EXHAUSTED);
	assert_int_equal(send_raw(w, PCAP "Nothing", "", 0),
			 GRPC_STATUS_UNIMPLEMENTED);
	assert_string_equal(w->x.text, "this pcapd has no such method");
	free(big);
}

/* --- replay and import --- */

static void replay_gives_back_every_byte(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest r = replay_of("a");

	imported(w, "a");
	struct taken *t = replay(w, &r);
	assert_int_equal(t->packets, PACKETS);
	assert_int_equal(t->end.examined, PACKETS);
	assert_true(t->end.complete);
	assert_int_equal(t->end.min_ns, 1000 * NS_PER_S);
	assert_int_equal(t->end.max_ns,
			 (1000 + PACKETS - 1) * NS_PER_S + PACKETS - 1);
	assert_int_equal(t->n, sizeof(savefile));
	/* The header's snaplen is the capture's. */
	assert_memory_equal(t->bytes + 24, savefile + 24,
			    sizeof(savefile) - 24);
	free(t);
}

static void replay_picks(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest r = replay_of("a");

	imported(w, "a");
	r.filter = "udp src port 1001";
	struct taken *t = replay(w, &r);
	assert_int_equal(t->packets, PACKETS / 2);
	assert_int_equal(t->end.examined, PACKETS);
	free(t);

	r.filter = "tcp";
	t = replay(w, &r);
	assert_int_equal(t->packets, 0);
	assert_int_equal(t->n, 24);
	assert_true(t->end.complete);
	assert_int_equal(t->end.min_ns, 0);
	free(t);

	r.filter = "";
	r.max_packets = 7;
	t = replay(w, &r);
	assert_int_equal(t->packets, 7);
	assert_true(t->end.complete);
	assert_int_equal(t->n, 24 + 7 * (16 + FRAME));
	free(t);

	r.max_packets = 0;
	r.since_ns = 1010 * NS_PER_S;
	r.until_ns = 1020 * NS_PER_S;
	r.snaplen = 60;
	t = replay(w, &r);
	assert_int_equal(t->packets, 10);
	assert_int_equal(t->n, 24 + 10 * (16 + 60));
	uint32_t snaplen;
	memcpy(&snaplen, t->bytes + 16, 4);
	assert_int_equal(snaplen, 60);
	free(t);
}

static void replay_refuses_what_makes_no_sense(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest r = replay_of("a");
	const grpc_status_code invalid = GRPC_STATUS_INVALID_ARGUMENT;

	imported(w, "a");
	r.since_ns = 2;
	r.until_ns = 1;
	refused(w, "Replay", &r.base, invalid,
		"expected a time range, got one that ends before it starts");
	r.since_ns = -1;
	refused(w, "Replay", &r.base, invalid,
		"expected times since 1970, got one before");
	r.since_ns = 0;
	r.live = true;
	refused(w, "Replay", &r.base, invalid,
		"expected an end or a live replay, got both");
	r = replay_of("a");
	r.filter = "tcp port";
	assert_null(exchange_once(&w->x, &w->peer, PCAP "Replay", &r.base,
				  ANSWER(replay_response)));
	assert_int_equal(w->x.status, invalid);
	assert_non_null(strstr(w->x.text, "syntax error"));
}

static void whole_blocks_come_as_they_lie_on_disk(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest r = replay_of("a");
	char path[128], command[300];

	imported(w, "a");
	r.accept_zstd = true;
	struct taken *t = take_from(w, "Replay", &r.base);
	snprintf(path, sizeof(path), "%s/frames", w->folder);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	take_rest(t);
	fwrite(t->bytes + 24, 1, t->n - 24, f);
	fclose(f);
	assert_int_equal(t->packets, PACKETS);
	assert_int_equal(t->end.max_ns,
			 (1000 + PACKETS - 1) * NS_PER_S + PACKETS - 1);
	snprintf(command, sizeof(command), "zstd -dcq %s > %s.raw", path, path);
	assert_int_equal(system(command), 0);
	snprintf(path + strlen(path), 8, ".raw");
	f = fopen(path, "r");
	assert_non_null(f);
	uint8_t *raw = malloc(sizeof(savefile));
	assert_int_equal(fread(raw, 1, sizeof(savefile), f),
			 sizeof(savefile) - 24);
	assert_memory_equal(raw, savefile + 24, sizeof(savefile) - 24);
	fclose(f);
	free(raw);
	free(t);
}

static void a_cut_savefile_is_imported_as_far_as_it_goes(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest r = replay_of("cut");
	Pcap__V1__ImportResponse *i =
		import(w, "cut", 24 + 300 * (16 + FRAME) - 1);

	assert_non_null(i);
	assert_int_equal(i->packets, 299);
	assert_true(i->created);
	assert_true(*i->incomplete);
	pcap__v1__import_response__free_unpacked(i, NULL);
	struct taken *t = replay(w, &r);
	assert_memory_equal(t->bytes + 24, savefile + 24, t->n - 24);
	assert_int_equal(t->packets, 299);
	free(t);
}

static void imports_need_an_alias_and_a_savefile(void **state)
{
	struct world *w = *state;
	Pcap__V1__ImportRequest r = PCAP__V1__IMPORT_REQUEST__INIT;

	refused(w, "Import", &r.base, GRPC_STATUS_INVALID_ARGUMENT,
		"expected an alias to import into, got nothing");
	r.alias = "a";
	r.data.data = (uint8_t *)"this is not a savefile, is it?";
	r.data.len = 30;
	assert_null(exchange_once(&w->x, &w->peer, PCAP "Import", &r.base,
				  ANSWER(import_response)));
	assert_int_equal(w->x.status, GRPC_STATUS_INVALID_ARGUMENT);
	Pcap__V1__ReplayRequest none = replay_of("a");
	refused(w, "Replay", &none.base, GRPC_STATUS_NOT_FOUND,
		"no capture 'a'");
}

static void an_importer_that_goes_away_leaves_no_thread(void **state)
{
	struct world *w = *state;
	Pcap__V1__ImportRequest r = PCAP__V1__IMPORT_REQUEST__INIT;

	exchange_open(&w->x, &w->peer, PCAP "Import");
	r.alias = "a";
	r.data.data = savefile;
	r.data.len = 5000;
	assert_true(exchange_send_message(&w->x, &r.base));
	exchange_cancel(&w->x);
	assert_int_equal(exchange_finish(&w->x), GRPC_STATUS_CANCELLED);
	/* Stopping waits for every thread. */
	stop(w);
}

/* --- live streams --- */

static void a_live_replay_goes_on_without_gap_or_duplicate(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest r = replay_of("a");

	imported(w, "a");
	r.live = true;
	struct taken *t = take_from(w, "Replay", &r.base);
	take_packets(t, PACKETS);
	imported(w, "a");
	imported(w, "a");
	take_packets(t, 3 * PACKETS);
	size_t n = sizeof(savefile) - 24;
	assert_int_equal(t->n, 24 + 3 * n);
	for (int i = 0; i < 3; i++)
		assert_memory_equal(t->bytes + 24 + i * n, savefile + 24, n);
	delete (w, "a");
	take_rest(t);
	assert_false(t->end.complete);
	assert_string_equal(t->note, "the capture was deleted");
	free(t);
}

static void a_listener_gets_what_comes_after_its_header(void **state)
{
	struct world *w = *state;
	Pcap__V1__ListenRequest r = listen_to("a");

	imported(w, "a");
	struct taken *all = take_from(w, "Listen", &r.base);
	r.filter = "udp src port 1001";
	struct taken *half = take_from(w, "Listen", &r.base);
	r.max_packets = 5;
	struct taken *five = take_from(w, "Listen", &r.base);
	imported(w, "a");
	take_rest(five);
	assert_int_equal(five->packets, 5);
	assert_true(five->end.complete);
	take_packets(half, PACKETS / 2);
	take_packets(all, PACKETS);
	assert_memory_equal(all->bytes + 24, savefile + 24,
			    sizeof(savefile) - 24);
	delete (w, "a");
	take_rest(all);
	take_rest(half);
	assert_false(all->end.complete);
	assert_string_equal(all->note, "the capture was deleted");
	assert_int_equal(half->end.examined, PACKETS);
	free(all);
	free(half);
	free(five);
}

/* A listener that reads nothing: what its queue cannot hold is lost, and
 * what it gets and what it is told it lost is everything. */
static void a_slow_listener_is_told_what_it_lost(void **state)
{
	enum { IMPORTS = 80 };
	struct world *w = *state;
	Pcap__V1__ListenRequest r = listen_to("a");

	imported(w, "a");
	struct taken *t = take_from(w, "Listen", &r.base);
	for (int i = 0; i < IMPORTS; i++)
		imported(w, "a");
	delete (w, "a");
	do
		t->n = 24; /* the bytes are of no interest */
	while (take(t));
	assert_int_equal(exchange_finish(&t->x), GRPC_STATUS_OK);
	assert_true(t->lost > 0);
	assert_true(t->packets > 0);
	assert_int_equal(t->packets + t->lost, IMPORTS * PACKETS);
	assert_int_equal(t->end.lost, t->lost);
	free(t);
}

static void streams_over_the_bound_are_refused(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest r = replay_of("a");
	Pcap__V1__ListenRequest l = listen_to("a");

	imported(w, "a");
	w->config.max_replays = w->config.max_listeners = 1;
	server_configure(w->server, &w->config);
	r.live = true;
	struct taken *t = take_from(w, "Replay", &r.base);
	refused(w, "Replay", &r.base, GRPC_STATUS_RESOURCE_EXHAUSTED,
		"max-replays: 1 replays are under way already");
	struct taken *u = take_from(w, "Listen", &l.base);
	refused(w, "Listen", &l.base, GRPC_STATUS_RESOURCE_EXHAUSTED,
		"max-listeners: 1 listeners are under way already");
	exchange_cancel(&t->x);
	exchange_cancel(&u->x);
	assert_int_equal(exchange_finish(&t->x), GRPC_STATUS_CANCELLED);
	assert_int_equal(exchange_finish(&u->x), GRPC_STATUS_CANCELLED);
	free(t);
	free(u);
	/* Their places are free again, as soon as the server knows. */
	r.live = false;
	do {
		exchange_open(&w->x, &w->peer, PCAP "Replay");
		exchange_send_message(&w->x, &r.base);
		exchange_half_close(&w->x);
		ProtobufCMessage *m;
		while ((m = exchange_receive(&w->x, ANSWER(replay_response))))
			protobuf_c_message_free_unpacked(m, NULL);
	} while (exchange_finish(&w->x) == GRPC_STATUS_RESOURCE_EXHAUSTED);
	assert_int_equal(w->x.status, GRPC_STATUS_OK);
}

static void streams_are_told_that_pcapd_is_stopping(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest r = replay_of("a");
	Pcap__V1__ListenRequest l = listen_to("a");

	imported(w, "a");
	r.live = true;
	struct taken *replaying = take_from(w, "Replay", &r.base);
	take_packets(replaying, PACKETS);
	struct taken *listening = take_from(w, "Listen", &l.base);
	server_stop(w->server, GRACE_MS);
	w->server = NULL;
	take_until(replaying, GRPC_STATUS_UNAVAILABLE);
	take_until(listening, GRPC_STATUS_UNAVAILABLE);
	assert_string_equal(replaying->note, "pcapd is stopping");
	assert_string_equal(listening->note, "pcapd is stopping");
	assert_false(replaying->end.complete || listening->end.complete);
	free(replaying);
	free(listening);
	test_peer_close(&w->peer);
	control_stop(w->control);
	control_close(w->control);
}

/* It reads nothing, so that the replay can neither go on nor end. */
static void a_client_that_does_not_read_does_not_stop_a_stop(void **state)
{
	struct world *w = *state;
	Pcap__V1__ReplayRequest r = replay_of("a");
	struct taken *t[8];

	for (int i = 0; i < 20; i++)
		imported(w, "a");
	for (int i = 0; i < 8; i++)
		t[i] = take_from(w, "Replay", &r.base);
	server_stop(w->server, 100);
	w->server = NULL;
	for (int i = 0; i < 8; i++) {
		ProtobufCMessage *m;

		while ((m = exchange_receive(&t[i]->x,
					     ANSWER(replay_response))))
			protobuf_c_message_free_unpacked(m, NULL);
		exchange_finish(&t[i]->x);
		free(t[i]);
	}
	test_peer_close(&w->peer);
	control_stop(w->control);
	control_close(w->control);
}

/* --- the standard services --- */

static void health_says_serving(void **state)
{
	struct world *w = *state;
	Grpc__Health__V1__HealthCheckRequest r =
		GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	Grpc__Health__V1__HealthCheckResponse *m = (void *)exchange_once(
		&w->x, &w->peer, "/grpc.health.v1.Health/Check", &r.base,
		&grpc__health__v1__health_check_response__descriptor);

	assert_non_null(m);
	assert_int_equal(m->status, 1);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	r.service = "another";
	assert_null(exchange_once(
		&w->x, &w->peer, "/grpc.health.v1.Health/Check", &r.base,
		&grpc__health__v1__health_check_response__descriptor));
	assert_int_equal(w->x.status, GRPC_STATUS_NOT_FOUND);
}

typedef Grpc__Reflection__V1__ServerReflectionRequest ReflectionRequest;
typedef Grpc__Reflection__V1__ServerReflectionResponse ReflectionResponse;

static ReflectionResponse *reflect(struct world *w, ReflectionRequest *r)
{
	assert_true(exchange_send_message(&w->x, &r->base));
	ReflectionResponse *m = (void *)exchange_receive(
		&w->x,
		&grpc__reflection__v1__server_reflection_response__descriptor);
	assert_non_null(m);
	return m;
}

static bool describes(struct world *w, const char *symbol)
{
	ReflectionRequest r =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;

	r.message_request_case = 4;
	r.file_containing_symbol = (char *)symbol;
	ReflectionResponse *m = reflect(w, &r);
	assert_string_equal(m->original_request->file_containing_symbol,
			    symbol);
	bool yes = m->message_response_case == 4;
	if (yes) {
		ProtobufCBinaryData *file =
			m->file_descriptor_response->file_descriptor_proto;

		/* The file's name comes first. */
		assert_memory_equal(file->data, "\x0a\x12pcap/v1/pcap.proto",
				    20);
	} else {
		assert_int_equal(m->error_response->error_code,
				 GRPC_STATUS_NOT_FOUND);
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return yes;
}

static void reflection_finds_what_is_declared(void **state)
{
	static const char *const declared[] = {
		"pcap.v1.Pcap",
		"pcap.v1.Pcap.Replay",
		"pcap.v1.Capture",
		"pcap.v1.Capture.State",
		"pcap.v1.Capture.id",
		"pcap.v1.Capture.State.RUNNING",
		"pcap.v1.ReplayResponse.event",
	};
	static const char *const missing[] = {
		"",
		"pcap.v1",
		"pcap.v1.",
		"pcap.v1.Pca",
		"pcap.v1.Pcap.Repla",
		"pcap.v1.Pcapx",
		"pcap.v1.Pcap.Replay.x",
		"Pcap",
	};
	struct world *w = *state;

	exchange_open(&w->x, &w->peer,
		      "/grpc.reflection.v1.ServerReflection/"
		      "ServerReflectionInfo");
	for (size_t i = 0; i < sizeof(declared) / sizeof(declared[0]); i++)
		assert_true(describes(w, declared[i]));
	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
		assert_false(describes(w, missing[i]));
	exchange_half_close(&w->x);
	assert_null(exchange_receive(
		&w->x,
		&grpc__reflection__v1__server_reflection_response__descriptor));
	assert_int_equal(exchange_finish(&w->x), GRPC_STATUS_OK);
}

/* Of a method whose answer says nothing here. */
static grpc_status_code listed(struct world *w)
{
	Pcap__V1__ListRequest r = PCAP__V1__LIST_REQUEST__INIT;
	struct exchange x;
	ProtobufCMessage *m;

	exchange_open(&x, &w->peer, "/pcap.v1.Pcap/List");
	exchange_send_message(&x, &r.base);
	exchange_half_close(&x);
	m = exchange_receive(&x, &pcap__v1__list_response__descriptor);
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
	return exchange_finish(&x);
}

static void who_asks_nothing_more_keeps_no_place(void **state)
{
	struct world *w = *state;

	w->config.max_calls = 1;
	w->config.request_timeout_s = 1;
	server_configure(w->server, &w->config);
	exchange_open(&w->x, &w->peer,
		      "/grpc.reflection.v1alpha.ServerReflection/"
		      "ServerReflectionInfo");
	assert_true(describes(w, "pcap.v1.Pcap"));
	/* Now somebody waits for it. */
	assert_int_equal(listed(w), GRPC_STATUS_RESOURCE_EXHAUSTED);
	assert_null(exchange_receive(
		&w->x,
		&grpc__reflection__v1__server_reflection_response__descriptor));
	assert_int_equal(exchange_finish(&w->x), GRPC_STATUS_DEADLINE_EXCEEDED);
	assert_string_equal(w->x.text,
			    "request-timeout: no request came for 1 s");
	/* It is there when the last reference to the call has gone. */
	while (listed(w) != GRPC_STATUS_OK)
		usleep(1000);
}

static void reflection_lists_the_services(void **state)
{
	struct world *w = *state;
	ReflectionRequest r =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
	unsigned found = 0;

	exchange_open(&w->x, &w->peer,
		      "/grpc.reflection.v1alpha.ServerReflection/"
		      "ServerReflectionInfo");
	r.message_request_case = 7;
	r.list_services = "";
	ReflectionResponse *m = reflect(w, &r);
	assert_int_equal(m->message_response_case, 6);
	assert_int_equal(m->list_services_response->n_service, 4);
	for (size_t i = 0; i < 4; i++)
		found += !strcmp(m->list_services_response->service[i]->name,
				 "pcap.v1.Pcap");
	assert_int_equal(found, 1);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	/* The stream stays open: stopping ends it. */
	stop(w);
	assert_int_equal(exchange_finish(&w->x), GRPC_STATUS_UNAVAILABLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_socket_is_for_its_group_only),
		TEST(a_socket_that_is_served_is_not_taken),
		TEST(what_is_in_the_way_is_not_touched),
		TEST(a_socket_that_cannot_be_is_told),
		TEST(connections_over_a_peers_bound_are_told),
		TEST(who_has_no_place_is_cut_off),
		TEST(the_servers_own_user_is_not_kept_out),
		TEST(it_tells_its_version),
		TEST(what_is_out_of_bounds_is_refused),
		TEST(filters_and_messages_are_bounded_as_configured),
		TEST(a_hint_comes_with_the_status),
		TEST(what_is_no_request_is_refused),
		TEST(replay_gives_back_every_byte),
		TEST(replay_picks),
		TEST(replay_refuses_what_makes_no_sense),
		TEST(whole_blocks_come_as_they_lie_on_disk),
		TEST(a_cut_savefile_is_imported_as_far_as_it_goes),
		TEST(imports_need_an_alias_and_a_savefile),
		TEST(an_importer_that_goes_away_leaves_no_thread),
		TEST(a_live_replay_goes_on_without_gap_or_duplicate),
		TEST(a_listener_gets_what_comes_after_its_header),
		TEST(a_slow_listener_is_told_what_it_lost),
		TEST(streams_over_the_bound_are_refused),
		TEST(streams_are_told_that_pcapd_is_stopping),
		TEST(a_client_that_does_not_read_does_not_stop_a_stop),
		TEST(health_says_serving),
		TEST(reflection_finds_what_is_declared),
		TEST(who_asks_nothing_more_keeps_no_place),
		TEST(reflection_lists_the_services),
	};

	traffic_savefile(savefile, PACKETS, FRAME);
	grpc_init();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	grpc_shutdown();
	return failed;
}
