/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every method, while the n-th allocation or the n-th open of the daemon
 * fails, for every n: the call may fail, and nothing else does. Afterwards the
 * same packets are there for a replay, as many descriptors are open, and a
 * stop ends everything; under ASan also every byte is freed, once.
 */
#include "loopback_peer.h"
#include "refuse.h"
#include "server/method.h"
#include "server/server.h"
#include "traffic.h"

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "pcap/v1/pcap.pb-c.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PCAP "/pcap.v1.Pcap/"
#define PACKETS 50
#define FRAME 60
#define GRACE_MS 2000
/* A method that needs more than this before it answers loops. */
#define CALLS_MAX 1000000

static struct {
	char folder[64];
	struct config config;
	struct control *control;
	struct server *server;
	struct test_peer peer;
	bool live; /* raw sockets are allowed here */
	struct err e;
} world;

static uint64_t hold_number;
static uint8_t savefile[TRAFFIC_SAVEFILE_BYTES(PACKETS, FRAME)];

/* --- requests --- */

#define REQUEST(function, type, lower, ...)                                    \
	static ProtobufCMessage *function(void)                                \
	{                                                                      \
		static Pcap__V1__##type m;                                     \
		pcap__v1__##lower##__init(&m);                                 \
		__VA_ARGS__;                                                   \
		return &m.base;                                                \
	}

REQUEST(version, VersionRequest, version_request, (void)m)
REQUEST(interfaces, InterfacesRequest, interfaces_request, (void)m)
REQUEST(init, InitRequest, init_request, m.interface = "lo";
	m.filter = "udp port 9 and host 127.0.0.9"; m.alias = "made";
	m.people = "root,nobody"; m.start = true)
REQUEST(start, StartRequest, start_request, m.name = "live")
REQUEST(stop, StopRequest, stop_request, m.all = true)
REQUEST(list, ListRequest, list_request, (void)m)
REQUEST(delete, DeleteRequest, delete_request, m.name = "extra")
REQUEST(add_alias, AddAliasRequest, add_alias_request, m.name = "kept";
	m.alias = "second")
REQUEST(remove_alias, RemoveAliasRequest, remove_alias_request,
	m.alias = "third")
REQUEST(status, StatusRequest, status_request, (void)m)
REQUEST(gaps, GapsRequest, gaps_request, m.name = "kept")
REQUEST(set, SetRequest, set_request, m.name = "kept";
	m.bytes_case = PCAP__V1__SET_REQUEST__BYTES_KEEP_BYTES;
	m.keep_bytes = 1 << 30; m.who_case = PCAP__V1__SET_REQUEST__WHO_PEOPLE;
	m.people = "root")
REQUEST(would_remove, WouldRemoveRequest, would_remove_request, m.name = "kept";
	m.bytes_case = PCAP__V1__WOULD_REMOVE_REQUEST__BYTES_KEEP_BYTES;
	m.keep_bytes = 1)
REQUEST(hold, HoldRequest, hold_request, m.name = "kept";
	m.since_ns = 1000 * NS_PER_S; m.until_ns = 2000 * NS_PER_S;
	m.reason = "a case")
REQUEST(release, ReleaseRequest, release_request, m.name = "kept";
	m.hold = hold_number)
REQUEST(mark, MarkRequest, mark_request, m.name = "kept"; m.mark = "a-mark";
	m.at_ns = 1)
REQUEST(audit, AuditRequest, audit_request, (void)m)
REQUEST(explain, ExplainRequest, explain_request, m.name = "kept";
	m.filter = "udp")
REQUEST(count, CountRequest, count_request, m.name = "kept"; m.filter = "udp";
	m.by_ns = NS_PER_S)
REQUEST(replay, ReplayRequest, replay_request, m.name = "kept";
	m.filter = "udp port 1000")
REQUEST(listen_to, ListenRequest, listen_request, m.name = "kept";
	m.filter = "udp")
REQUEST(import, ImportRequest, import_request, m.alias = "imported";
	m.file = "made.pcap"; m.data.data = savefile;
	m.data.len = sizeof(savefile))

static ProtobufCMessage *health(void)
{
	static Grpc__Health__V1__HealthCheckRequest m;

	grpc__health__v1__health_check_request__init(&m);
	return &m.base;
}

static ProtobufCMessage *reflection(void)
{
	static Grpc__Reflection__V1__ServerReflectionRequest m;

	grpc__reflection__v1__server_reflection_request__init(&m);
	m.message_request_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL;
	m.file_containing_symbol = "pcap.v1.Pcap";
	return &m.base;
}

static const struct rpc {
	const char *path;
	ProtobufCMessage *(*request)(void);
	bool endless;		 /* it ends when it is cancelled */
	bool live;		 /* it needs a live capture */
	grpc_status_code status; /* when nothing is refused */
} rpcs[] = {
	{PCAP "Version", version, false, false, GRPC_STATUS_OK},
	{PCAP "Interfaces", interfaces, false, false, GRPC_STATUS_OK},
	{PCAP "Init", init, false, true, GRPC_STATUS_OK},
	{PCAP "Start", start, false, true, GRPC_STATUS_OK},
	{PCAP "Stop", stop, false, true, GRPC_STATUS_OK},
	{PCAP "List", list, false, false, GRPC_STATUS_OK},
	{PCAP "Delete", delete, false, false, GRPC_STATUS_OK},
	{PCAP "AddAlias", add_alias, false, false, GRPC_STATUS_OK},
	{PCAP "RemoveAlias", remove_alias, false, false, GRPC_STATUS_OK},
	{PCAP "Status", status, false, false, GRPC_STATUS_OK},
	{PCAP "Gaps", gaps, false, false, GRPC_STATUS_OK},
	{PCAP "Set", set, false, false, GRPC_STATUS_OK},
	{PCAP "WouldRemove", would_remove, false, false, GRPC_STATUS_OK},
	{PCAP "Hold", hold, false, false, GRPC_STATUS_OK},
	{PCAP "Release", release, false, false, GRPC_STATUS_OK},
	{PCAP "Mark", mark, false, false, GRPC_STATUS_OK},
	{PCAP "Audit", audit, false, false, GRPC_STATUS_OK},
	{PCAP "Explain", explain, false, false, GRPC_STATUS_OK},
	{PCAP "Count", count, false, false, GRPC_STATUS_OK},
	{PCAP "Replay", replay, false, false, GRPC_STATUS_OK},
	{PCAP "Listen", listen_to, true, false, GRPC_STATUS_CANCELLED},
	{PCAP "Import", import, false, false, GRPC_STATUS_OK},
	{"/grpc.health.v1.Health/Check", health, false, false, GRPC_STATUS_OK},
	{"/grpc.health.v1.Health/Watch", health, false, false,
	 GRPC_STATUS_UNIMPLEMENTED},
	{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	 reflection, false, false, GRPC_STATUS_OK},
	{"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
	 reflection, false, false, GRPC_STATUS_OK},
};
#define RPCS (sizeof(rpcs) / sizeof(rpcs[0]))

/* --- the daemon --- */

struct upload {
	size_t at;
};

static int64_t read_savefile(void *ctx, void *to, size_t n, struct err *e)
{
	struct upload *u = ctx;

	(void)e;
	if (n > sizeof(savefile) - u->at)
		n = sizeof(savefile) - u->at;
	memcpy(to, savefile + u->at, n);
	u->at += n;
	return (int64_t)n;
}

static void import_file(const char *alias)
{
	struct upload u = {0};
	struct import_done d;

	if (!control_import(world.control, alias, "made", read_savefile, &u, &d,
			    &world.e))
		fail_msg("import %s: %s", alias, world.e.what);
	assert_int_equal(d.packets, PACKETS);
	capture_view_done(&d.view);
}

static int set_up(void **state)
{
	struct init_options o = {.alias = "live"};
	char note[INIT_NOTE_MAX];
	struct capture_view v;
	bool created, added;

	(void)state;
	strcpy(world.folder, "/tmp/pcapd-test-XXXXXX");
	assert_non_null(mkdtemp(world.folder));
	config_defaults(&world.config);
	snprintf(world.config.spool, CONFIG_PATH_MAX, "%s/spool", world.folder);
	snprintf(world.config.socket, CONFIG_PATH_MAX, "%s/sock", world.folder);
	world.config.socket_group[0] = '\0';
	world.control = control_open(&world.config, &world.e);
	if (!world.control)
		fail_msg("%s", world.e.what);
	world.server = server_start(world.control, &world.config, &world.e);
	if (!world.server)
		fail_msg("%s", world.e.what);
	test_peer_open(&world.peer, world.config.socket);
	traffic_savefile(savefile, PACKETS, FRAME);
	import_file("kept");
	strcpy(o.capture.interface, "lo");
	strcpy(o.capture.filter, "udp port 9 and host 127.0.0.8");
	world.live = control_init(world.control, &o, &v, &created, &added, note,
				  &world.e);
	if (world.live)
		capture_view_done(&v);
	else
		assert_int_equal(world.e.kind, ERR_PERMISSION);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	server_stop(world.server, GRACE_MS);
	test_peer_close(&world.peer);
	control_stop(world.control);
	control_close(world.control);
	snprintf(command, sizeof(command), "rm -rf %s", world.folder);
	assert_int_equal(system(command), 0);
	return 0;
}

/* What a call changes is as it was before the call. */
static void prepare(const struct rpc *m)
{
	struct store_hold h = {.since_ns = 1000 * NS_PER_S,
			       .until_ns = 2000 * NS_PER_S,
			       .reason = "r"};
	struct control *ctl = world.control;
	struct capture_view v;
	struct err e;
	bool done = false;

	if (m->request == init && control_stop_one(ctl, "made", &v, &e)) {
		capture_view_done(&v);
		done = control_delete(ctl, "made", &v, &e);
	} else if (m->request == import) {
		done = control_delete(ctl, "imported", &v, &e);
	} else if (m->request == add_alias) {
		done = control_alias_remove(ctl, "second", &v, &e);
	} else if (m->request == remove_alias) {
		done = control_alias_add(ctl, "kept", "third", &v, &e);
	} else if (m->request == delete) {
		if (control_delete(ctl, "extra", &v, &e))
			capture_view_done(&v);
		import_file("extra");
	} else if (m->request == release) {
		done = control_hold(ctl, "kept", &h, &v, &e);
		hold_number = h.id;
	} else if (m->request == mark) {
		done = control_mark(ctl, "kept",
				    &(struct store_mark){.name = "a-mark"},
				    true, &v, &e);
	} else if (m->request == start) {
		done = control_stop_one(ctl, "live", &v, &e);
	} else if (m->request == stop) {
		done = control_start(ctl, "live", &v, &e);
	}
	if (done)
		capture_view_done(&v);
}

/* --- calls --- */

static bool receive(struct exchange *x)
{
	/* A message without fields reads any other. */
	ProtobufCMessage *m =
		exchange_receive(x, &pcap__v1__version_request__descriptor);

	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
	return m;
}

static grpc_status_code call(const struct rpc *m, struct exchange *x)
{
	exchange_open(x, &world.peer, m->path);
	exchange_send_message(x, m->request());
	if (m->endless) {
		receive(x);
		exchange_cancel(x);
	} else {
		exchange_half_close(x);
	}
	while (receive(x))
		;
	return exchange_finish(x);
}

static void replays_whole(const struct rpc *m, long n)
{
	Pcap__V1__ReplayRequest r = PCAP__V1__REPLAY_REQUEST__INIT;
	Pcap__V1__ReplayResponse *got;
	uint64_t packets = 0;
	bool complete = false;
	struct exchange x;

	r.name = "kept";
	exchange_open(&x, &world.peer, PCAP "Replay");
	exchange_send_message(&x, &r.base);
	exchange_half_close(&x);
	while ((got = (void *)exchange_receive(
			&x, &pcap__v1__replay_response__descriptor))) {
		if (got->event_case == PCAP__V1__REPLAY_RESPONSE__EVENT_PACKETS)
			packets += got->packets->count;
		if (got->event_case == PCAP__V1__REPLAY_RESPONSE__EVENT_END)
			complete = got->end->complete;
		pcap__v1__replay_response__free_unpacked(got, NULL);
	}
	grpc_status_code status = exchange_finish(&x);
	if (status != GRPC_STATUS_OK || packets != PACKETS || !complete)
		fail_msg("after %s with refusal %ld: status %d (%s), %llu "
			 "packets",
			 m->path, n, status, x.text,
			 (unsigned long long)packets);
}

/* SQLite keeps descriptors of a catalog that others have open, to use them
 * again: those do not count. */
static long descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *each;
	char path[256];
	long n = 0;

	assert_non_null(d);
	while ((each = readdir(d))) {
		ssize_t k = readlinkat(dirfd(d), each->d_name, path,
				       sizeof(path) - 1);

		path[k > 0 ? k : 0] = '\0';
		n += !strstr(path, "/catalog.db");
	}
	closedir(d);
	return n;
}

/* Threads that a call left may still be about to close theirs. */
static void descriptors_are_back(const struct rpc *m, long before)
{
	long now = 0;

	for (int i = 0; i < 1000; i++) {
		now = descriptors();
		if (now <= before)
			return;
		usleep(10000);
	}
	fail_msg("%s: %ld descriptors were open, %ld are", m->path, before,
		 now);
}

/* SQLite allocates some hundred times to open a catalog, and is tested by its
 * own: of its calls some are enough. PCAPD_FAULTS_ALL: three times as
 * many. */
static long step(enum refused what, long n)
{
	long part = getenv("PCAPD_FAULTS_ALL") ? 12 : 4;

#ifdef __SANITIZE_THREAD__
	part = 1;
#endif
	return what == REFUSE_SQLITE ? 1 + n / part : 1;
}

/* For every n, until none of three is reached: other threads of the daemon
 * allocate, too, so that how many there are is not the same each time. */
static void refuse_all(const struct rpc *m, enum refused what)
{
	struct exchange x;
	long n, tried = 0, not_reached = 0;

	prepare(m);
	call(m, &x);
	replays_whole(m, 0);
	long before = descriptors();
	for (n = 1; not_reached < 3; n += step(what, n)) {
		assert_true(n < CALLS_MAX);
		prepare(m);
		refuse_arm(what, n);
		call(m, &x);
		not_reached = refuse_disarm() < n ? not_reached + 1 : 0;
		tried++;
		replays_whole(m, n);
	}
	printf("%s: %ld\n", m->path, tried - not_reached);
	prepare(m);
	grpc_status_code status = call(m, &x);
	if (status != m->status)
		fail_msg("%s without refusals: %d (%s)", m->path, status,
			 x.text);
	descriptors_are_back(m, before);
}

static void each(enum refused what)
{
	for (size_t i = 0; i < RPCS; i++)
		if (!rpcs[i].live || world.live)
			refuse_all(&rpcs[i], what);
}

static void no_method_is_left_out(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_methods; i++) {
		size_t k = 0;

		while (k < RPCS && strcmp(rpcs[k].path, methods[i].path) != 0)
			k++;
		if (k == RPCS)
			fail_msg("%s is not tried", methods[i].path);
	}
}

static void any_allocation_may_fail(void **state)
{
	(void)state;
	each(REFUSE_MEMORY);
}

static void an_allocation_of_sqlite_may_fail(void **state)
{
	(void)state;
	each(REFUSE_SQLITE);
}

static void any_open_may_fail(void **state)
{
	(void)state;
	each(REFUSE_DESCRIPTOR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_method_is_left_out),
		cmocka_unit_test_setup_teardown(any_open_may_fail, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(any_allocation_may_fail, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			an_allocation_of_sqlite_may_fail, set_up, tear_down),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	refuse_exempt();
	refuse_init();
	grpc_init();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	grpc_shutdown();
	return failed;
}
