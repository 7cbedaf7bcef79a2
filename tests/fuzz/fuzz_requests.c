/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes that a peer sends: as the first line of pcap proxy, which comes out as
 * it went in, and as a request, to every method of a server that runs: the
 * first byte picks the method, a 0xff byte ends a message of a stream. Each
 * call ends, with a status that pcap.proto names, and the server goes on. As a
 * program of its own it replays the files that it is given, and fails without
 * any.
 */
#include "server/method.h"
#include "server/proxy_protocol.h"
#include "server/server.h"
#include "server/side_channel.h"

#include "../unit/loopback_peer.h"

#include "pcap/v1/pcap.pb-c.h"

#include <arpa/inet.h>
#include <assert.h>
#include <grpc/grpc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_MAX 8192
#define NOBODY 65534

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct {
	char folder[64];
	struct config config;
	struct control *control;
	struct server *server;
	struct test_peer peer;
} world;

static void stop(void)
{
	char command[128];

	test_peer_close(&world.peer);
	server_stop(world.server, 0);
	control_stop(world.control);
	control_close(world.control);
	grpc_shutdown();
	snprintf(command, sizeof(command), "rm -rf %s", world.folder);
	if (system(command) != 0)
		_exit(1);
}

/* Nothing that is asked for may capture what is here. */
static void start(void)
{
	struct err e = ERR_INIT;

	if (geteuid() == 0)
		assert(setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
		       setresuid(NOBODY, NOBODY, NOBODY) == 0);
	signal(SIGPIPE, SIG_IGN);
	strcpy(world.folder, "/tmp/pcapd-fuzz-XXXXXX");
	assert(mkdtemp(world.folder));
	config_defaults(&world.config);
	snprintf(world.config.spool, CONFIG_PATH_MAX, "%s/spool", world.folder);
	snprintf(world.config.socket, CONFIG_PATH_MAX, "%s/sock", world.folder);
	world.config.socket_group[0] = '\0';
	grpc_init();
	world.control = control_open(&world.config, &e);
	world.server = world.control
			       ? server_start(world.control, &world.config, &e)
			       : NULL;
	if (!world.server) {
		fprintf(stderr, "%s\n", e.what);
		abort();
	}
	test_peer_open(&world.peer, world.config.socket);
	atexit(stop);
}

static void assert_documented(grpc_status_code status)
{
	switch (status) {
	case GRPC_STATUS_OK:
	case GRPC_STATUS_CANCELLED:
	case GRPC_STATUS_INVALID_ARGUMENT:
	case GRPC_STATUS_NOT_FOUND:
	case GRPC_STATUS_ALREADY_EXISTS:
	case GRPC_STATUS_PERMISSION_DENIED:
	case GRPC_STATUS_FAILED_PRECONDITION:
	case GRPC_STATUS_RESOURCE_EXHAUSTED:
	case GRPC_STATUS_DATA_LOSS:
	case GRPC_STATUS_UNIMPLEMENTED:
		return;
	default:
		fprintf(stderr, "status %d\n", (int)status);
		abort();
	}
}

static void call(const ProtobufCMethodDescriptor *m, const uint8_t *data,
		 size_t n)
{
	/* Nobody but the test ends these. */
	bool endless = !strcmp(m->name, "Replay") || !strcmp(m->name, "Listen");
	bool many = !strcmp(m->name, "Import");
	ProtobufCMessage *answer;
	struct exchange x;
	char path[128];

	snprintf(path, sizeof(path), "/pcap.v1.Pcap/%s", m->name);
	exchange_open(&x, &world.peer, path);
	do {
		const uint8_t *end = many && n ? memchr(data, 0xff, n) : NULL;
		size_t one = end ? (size_t)(end - data) : n;

		if (!exchange_send(&x, data, one))
			break;
		n -= end ? one + 1 : one;
		data += end ? one + 1 : one;
	} while (n);
	exchange_half_close(&x);
	if (endless)
		exchange_cancel(&x);
	while ((answer = exchange_receive(&x, m->output)))
		protobuf_c_message_free_unpacked(answer, NULL);
	assert_documented(exchange_finish(&x));
}

/* --- the lines before gRPC --- */

static void fuzz_line(const char *data, size_t n)
{
	struct proxy_protocol p, again;
	char text[64], line[PROXIED_LINE_MAX + 1], to[INET6_ADDRSTRLEN];
	int length = proxy_protocol_line(data, n),
	    frames = side_channel_line(data, n);
	uint8_t ticket[TICKET_BYTES];

	assert(frames == 0 || (frames < 0) == (n < DATA_LINE_BYTES));
	assert(!frames || length <= 0);
	if (frames > 0)
		side_channel_parse(data, ticket);

	assert(length >= -1 && length <= (int)n);
	assert(length != -1 || n < PROXIED_LINE_MAX);
	if (length <= 0 || !proxy_protocol_parse(data, (size_t)length, &p))
		return;
	assert(p.client_port && p.server_port);
	proxy_protocol_text(&p, text, sizeof(text));
	assert(strlen(text) < sizeof(text) - 1);
	char from[INET6_ADDRSTRLEN];
	assert(inet_ntop(p.family, p.client, from, sizeof(from)));
	assert(inet_ntop(p.family, p.server, to, sizeof(to)));
	int written =
		snprintf(line, sizeof(line), "PROXY TCP%d %s %s %u %u\r\n",
			 p.family == AF_INET6 ? 6 : 4, from, to, p.client_port,
			 p.server_port);
	assert(proxy_protocol_parse(line, (size_t)written, &again));
	assert(memcmp(&p, &again, sizeof(p)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	Pcap__V1__VersionRequest ask = PCAP__V1__VERSION_REQUEST__INIT;
	struct exchange x;

	if (!world.server)
		start();
	if (n == 0 || n > INPUT_MAX)
		return 0;
	fuzz_line((const char *)data, n);
	const ProtobufCServiceDescriptor *all = &pcap__v1__pcap__descriptor;
	call(&all->methods[data[0] % all->n_methods], data + 1, n - 1);
	ProtobufCMessage *m = exchange_once(
		&x, &world.peer, "/pcap.v1.Pcap/Version", &ask.base,
		&pcap__v1__version_response__descriptor);
	assert(m);
	protobuf_c_message_free_unpacked(m, NULL);
	return 0;
}
