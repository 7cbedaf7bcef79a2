/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client: calls to a pcapd, for the command line.
 *
 * What: one connection, one call at a time; unary calls and the two kinds of
 * streams, on protobuf-c messages of proto/pcap/v1/pcap.proto.
 * Threads: all of one client on one thread, but client_cancel, which any
 * thread and a signal's reader may call. A stream must be polled: whoever
 * writes packets to a slow place does it on another thread.
 * Ownership: answers are unpacked messages that the caller frees with
 * protobuf_c_message_free_unpacked.
 */
#ifndef PCAPD_CLIENT_CLIENT_H
#define PCAPD_CLIENT_CLIENT_H

#include "base/err.h"
#include "pcap/v1/pcap.pb-c.h"

#include <stdint.h>
#include <sys/uio.h>

#define CLIENT_SOCKET_DEFAULT "/run/pcapd/pcapd.sock"

struct client;

/* Where a pcapd is. What a kind does not use is empty. */
enum address_kind { ADDRESS_UNIX, ADDRESS_TLS, ADDRESS_SSH };
#define ADDRESS_TEXT_MAX 512
struct address {
	enum address_kind kind;
	char label[72]; /* of the remote, for messages; "": this machine */
	char path[ADDRESS_TEXT_MAX];
	bool carried; /* on: what carries this session of ssh is told there */
	char user[64], host[256], port[8];
	/* PEM; all three may be one file. */
	char cert[ADDRESS_TEXT_MAX], key[ADDRESS_TEXT_MAX],
		ca[ADDRESS_TEXT_MAX];
};

/* Connects once, so that ERR_UNREACHABLE (nobody listens) and ERR_PERMISSION
 * (may not connect) are told apart here. Errors of this and of all calls begin
 * with the remote's label. Signals that should reach a thread of the caller's
 * are blocked before. */
struct client *client_open(const struct address *to, struct err *e);
void client_close(struct client *c); /* NULL is fine */
/* The bare connection of a UNIX socket; -1 on error. */
int client_connect(const char *socket_path, struct err *e);
/* The first line of such a connection, which tells by what TCP connection it is
 * carried: the PROXY protocol's, version 1, by the environment's
 * SSH_CONNECTION, or that of who started us. Its length; 0: this is no session
 * of ssh. */
#define CLIENT_CARRIER_MAX 160
size_t client_carrier(char out[CLIENT_CARRIER_MAX]);

/* method: "Init". NULL with the daemon's error; its hint is taken over. */
ProtobufCMessage *client_call(struct client *c, const char *method,
			      const ProtobufCMessage *request, struct err *e);

/*
 * A message of a ReplayResponse. Header, Lost and End are unpacked; of Packets
 * the bytes stay where they were received and are only pointed at; a frame that
 * came beside gRPC is in one piece. Owned by whoever got it, freed on any
 * thread, before client_close.
 */
struct client_event {
	Pcap__V1__ReplayResponse *message; /* NULL: packets */
	uint64_t count;			   /* as in Packets */
	uint64_t blocks_done;
	uint64_t bytes;		 /* in all pieces */
	uint64_t zstd_raw_bytes; /* 0: records; else a zstd frame of so many */
	size_t n_pieces;
	struct iovec *pieces;
};
void client_event_free(struct client_event *ev); /* NULL is fine */

#define CLIENT_TICKET_BYTES 16
/* The next stream's stored frames may come beside gRPC if its request has this
 * ticket. false: they cannot, as pcapd is elsewhere, or knows nothing of it. */
bool client_beside(struct client *c, uint8_t ticket[CLIENT_TICKET_BYTES]);

/* A stream of events. client_next: 1 an event, 0 the stream ended well, -1 it
 * ended with an error. On a cancel: -1 and ERR_CANCELLED. client_tend does
 * what must be done while nobody is in client_next; call it every second. */
void client_stream(struct client *c, const char *method,
		   const ProtobufCMessage *request);
int client_next(struct client *c, struct client_event **ev, struct err *e);
void client_tend(struct client *c);

/* A client stream: send until false, then finish in any case. */
void client_upload(struct client *c, const char *method);
bool client_send(struct client *c, const ProtobufCMessage *m);
/* Waits for what client_send would wait for, but at most so long. */
bool client_may_send(struct client *c, int wait_ms);
/* pcapd has ended the call; client_finish tells how. */
bool client_has_ended(const struct client *c);
ProtobufCMessage *client_finish(struct client *c, struct err *e);

/* Ends the call that is under way and any later one, from any thread, until
 * client_resume; after that calls may take patience_ms, or 0: any time. */
void client_cancel(struct client *c);
void client_resume(struct client *c, int patience_ms);

#endif
