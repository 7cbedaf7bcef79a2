/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer: who is at the other end of a connection, and what it may do.
 *
 * Threads: any; what is under the server's lock says so.
 * Ownership: peers are counted. The server's list holds no reference; gRPC
 * holds one while it serves the connection, so does each call and each thread
 * that carries its bytes. The last one destroys its gRPC server.
 */
#ifndef PCAPD_SERVER_PEER_H
#define PCAPD_SERVER_PEER_H

#include "packet/flow.h"
#include "server/admission.h"
#include "server/op.h"
#include "server/side_channel.h"
#include "tls/allow.h"

#include <grpc/grpc.h>
#include <sys/queue.h>

struct method;
struct server;

enum origin { FROM_SOCKET, FROM_SSH, FROM_TLS };

/* Who has no place is served for as long as it takes to hear why. */
enum place { PLACE_NONE, PLACE_ARRIVING, PLACE_TAKEN, PLACE_REFUSED, PLACES };
#define REFUSED_MAX 32

/* How far it is; it only goes on. */
enum peer_phase {
	PEER_ARRIVED,
	PEER_HANDSHAKE, /* of TLS, since since_ns */
	PEER_EVICTED,	/* it made room for others meanwhile */
	PEER_SERVED,	/* by gRPC */
	PEER_LEAVING,	/* it was told to go */
	PEER_ENDED,	/* gRPC was told that it is gone */
};

/* Each has a gRPC server of its own: what a call may do is known by where it
 * comes in, and not by a descriptor's number, which is used again. */
struct peer {
	struct server *server;
	atomic_uint refs; /* the server's list holds none */
	enum origin origin;
	char from[64]; /* address and port, or the user's number */
	/* Who it is; but for user written before it is served. The other one is
	 * zeros, and so has no role. */
	struct {
		char name[24]; /* "user 1000" */
		uid_t uid;
		char user[PERSON_MAX + 1]; /* once user_known */
		atomic_bool user_known;
		bool is_root; /* or who runs pcapd */
		enum role role;
	} local; /* FROM_SOCKET, FROM_SSH */
	struct {
		struct allowed allowed; /* as it was at the handshake */
		int64_t until_s;	/* of its certificate */
	} remote;			/* FROM_TLS */
	/* Once it is counted. */
	enum rank rank;
	struct person *person;
	int data_fd;		 /* it is a side channel; or -1 */
	grpc_server *grpc;	 /* NULL until it is served */
	atomic_bool starved;	 /* there was no memory for its next call */
	atomic_uint n_calls;	 /* that have arrived */
	_Atomic int64_t idle_ns; /* since when there are none */
	struct err refusal; /* of all its calls; written before it is served */
	struct op op_stopped;
	uint64_t excluded; /* control_accept's number */
	/* The connection to the ssh daemon that carries it, or no family;
	 * written before it is served. */
	struct flow carrier;

	/* Under the server's lock. */
	LIST_ENTRY(peer) entry;
	struct tls_link *tls; /* while there is one */
	enum place place;
	enum peer_phase phase;
	int64_t since_ns;
	struct side_channel side_channel;
};

/* It arrives; those of TLS have to show who they are. NULL: with ERR_LIMIT too
 * many do at once, or the server stops. */
struct peer *peer_new(struct server *s, enum origin origin, struct err *e);
/* It is known who it is. ERR_PERMISSION: it has no role; ERR_LIMIT: there is no
 * place for it. That is in refusal, too, for its calls, while REFUSED_MAX
 * others do not hear the same; those have to be closed: place stays
 * PLACE_ARRIVING. */
bool peer_count(struct peer *c, struct err *e);
/* Cuts off those of TLS that have no place and had time to hear it. */
void peers_refused(struct server *s);
/* With the server's lock; false: the last reference is gone. */
bool peer_ref_living(struct peer *c);
void peer_unref(struct peer *c);
/* Gives fd to gRPC, in any case. A reference is held until it has ended. */
void peer_serve(struct peer *c, int fd);
/* Of a thread that carries bytes. */
#define CARRY_STACK_BYTES (256 << 10)

/* Its bytes go through the guard of frames before plain, gRPC's other end, has
 * them. Returns when the connection is over. */
void peer_carry(struct peer *c, struct tls_link *l, int plain);
/* Its connection is gone, or has to go. */
void peer_end(struct peer *c);
/* The person's name, or "user 1000" of one on this machine. */
const char *peer_name(const struct peer *c);
/* The same with the user's name; it is looked up once, which may wait: not on
 * the completion-queue thread before a worker did. */
const char *peer_person(struct peer *c);
/* The same as far as it is known: does not wait. */
const char *peer_known(const struct peer *c);
/* people: of a capture. May wait. */
bool peer_sees(struct peer *c, const char *people);
/* As it is now. */
enum role peer_role(struct peer *c);
/* ERR_PERMISSION */
bool peer_may(struct peer *c, const struct method *m, struct err *e);
/* Ends and cuts off everybody's connection. */
void peers_end(struct server *s);
void peers_cut(struct server *s, bool only_shaking);
/* Those whose rights are gone since they came. */
void peers_review(struct server *s);
/* It has a connection, no call, and others wait for its place. */
bool peer_is_idle(struct peer *c, int64_t now);
/* Cuts those of TLS that are. */
void peers_idle(struct server *s);

#endif
