/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server_internal: what the files of the serving half share; private to them
 * and their tests.
 *
 * What: one struct call a call, from the moment that gRPC hands it out until
 * nobody uses it any more. A row of `methods` says what a method does with
 * it.
 * Threads: events of gRPC arrive on the completion-queue thread, which never
 * waits. Whatever waits (catalog, interfaces) runs on a worker; what waits for
 * a filter to be compiled, or for its client, on a thread of its own. One
 * SEND_MESSAGE is under way at a time: messages wait in the call's outbox, and
 * whoever finds nobody sending sends; when one has left, the completion-queue
 * thread sends the next. Locks: the broadcasts', then a capture tail's, then
 * call.lock or the pump's; server.lock alone. None is held while a batch is
 * started or the catalog is called, none but the broadcasts' while a capture
 * tail is. Taking call.lock after each event and before each batch is also what
 * orders memory between threads, as gRPC is a black box to the thread
 * sanitizer. Ownership: calls are counted. Every operation that gRPC has under
 * way holds a reference, so does every thread, list and feed that knows the
 * call.
 */
#ifndef PCAPD_SERVER_SERVER_INTERNAL_H
#define PCAPD_SERVER_SERVER_INTERNAL_H

#include "packet/bpf_compiler.h"
#include "packet/packet_select.h"
#include "packet/slice_queue.h"
#include "server/frame_guard.h"
#include "server/refusal.h"
#include "server/server.h"
#include "tls/allow.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <protobuf-c/protobuf-c.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "pcap.pb-c.h"

struct call;
struct peer;
struct listener;

/* --- bounds on what is under way at once --- */

enum bound {
	BOUND_CALLS,
	BOUND_REPLAYS,
	BOUND_LISTENERS,
	BOUND_IMPORTS,
	BOUND_CONNECTIONS,
	BOUNDS
};

#define WORKERS 4
/* Of a message, but for those of an import. It is kept as long as its call. */
#define REQUEST_MAX (64u << 10)
/* Of a replay, what waits to be sent: messages, and bytes that are there when
 * no more are added. They should be in the processor's cache still. */
#define OUTBOX_MAX 8
#define OUTBOX_BYTES (2u << 20)

/* --- what a method is --- */

struct method {
	const char *path; /* "/package.Service/Method" */
	const ProtobufCMessageDescriptor *request;
	enum bound bound;
	enum role role; /* that it takes */
	bool audited;	/* from its beginning on */
	/* The first message is in call.request. On the completion-queue
	 * thread. */
	void (*start)(struct call *c);
	/* What start hands to a worker or to a thread of the call. */
	void (*run)(struct call *c);
	/* A later message, the callee's from here on; NULL at the end. On the
	 * completion-queue thread. NULL: there are none. */
	void (*more)(struct call *c, ProtobufCMessage *m);
	/* The outbox is empty and the call goes on. On the completion-queue
	 * thread. */
	void (*idle)(struct call *c);
	/* The call is over. On the completion-queue thread. */
	void (*closed)(struct call *c);
	/* The server stops: come to an end. On server_stop's thread. */
	void (*stop)(struct call *c);
};

extern const struct method methods[];
extern const size_t n_methods;
const struct method *method_find(const char *path, size_t n);

void start_on_worker(struct call *c);
void start_on_thread(struct call *c);

/* --- call.c: one call --- */

/* What gRPC gets as a tag. */
struct op {
	/* Stored last and loaded first: for the thread sanitizer, to which what
	 * gRPC does between its threads is nothing, that is their order. */
	void (*_Atomic done)(void *ctx, bool ok);
	void *ctx;
};

static inline void op_init(struct op *op, void (*done)(void *ctx, bool ok),
			   void *ctx)
{
	op->ctx = ctx;
	atomic_store_explicit(&op->done, done, memory_order_release);
}

/* gRPC gave it back. */
static inline void op_end(struct op *op, bool ok)
{
	void (*done)(void *ctx, bool ok) =
		atomic_load_explicit(&op->done, memory_order_acquire);

	done(op->ctx, ok);
}

struct message {
	struct message *next;
	grpc_byte_buffer *bytes;
};

struct call {
	struct server *server;
	struct peer *caller;
	const struct method *method; /* NULL until it is known */
	atomic_uint refs;
	grpc_call *grpc;
	grpc_call_details details;
	grpc_metadata_array metadata;
	struct op op_new, op_close, op_receive, op_send;
	ProtobufCMessage *request;
	int close_cancelled;	    /* gRPC writes it */
	grpc_byte_buffer *received; /* gRPC writes it */
	struct call *next, **link;  /* server's list, under its lock */
	bool bounded;		    /* counts against method->bound */
	struct call *next_work;	    /* workers' line, under the server's lock */

	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t news;  /* room in the outbox, a message, or the end */
	struct message *outbox, **outbox_end;
	unsigned outbox_count;
	size_t outbox_bytes;
	grpc_byte_buffer *sending_bytes;
	/* For the audit. */
	int64_t arrived_ns;   /* CLOCK_MONOTONIC */
	int64_t sending_ns;   /* since when a batch is under way; 0: none is */
	int64_t receiving_ns; /* since when a receive is; 0: none is */
	uint64_t excluded;    /* control_exclude's number, while it streams */
	uint64_t bytes;	      /* of messages and frames */
	uint64_t audit_id;    /* 0: there is no row */
	int64_t began_ns;
	enum err_kind outcome; /* of an answer that is not all good, and why */
	char outcome_text[192];
	uint64_t capture; /* which it is about; 0: none, or not known yet */
	char people[PEOPLE_MAX + 1]; /* who might see that */
	int data_fd;		     /* of its data connection, or -1 */
	int64_t passing_ns; /* since when a frame goes over it; 0: none does */
	bool closed;	    /* audit_end was called */
	bool started;	    /* method->start was called */
	bool sending;	    /* somebody has the right to start a batch */
	bool greeted;	    /* initial metadata is sent */
	bool finishing;	    /* the status below follows the outbox */
	bool finished;	    /* the status is on its way */
	bool over;	    /* the peer is gone, or everything is done */
	grpc_status_code status;
	grpc_slice status_text;
	grpc_metadata trailing; /* the hint */
	size_t n_trailing;
	ProtobufCMessage *incoming; /* import: a later message */
	bool incoming_end;
	struct listener *listener;
};

/* Asks gRPC for the caller's next call. */
void call_request(struct peer *who);
struct call *call_ref(struct call *c);
/* For who has a pointer but no reference: false when the last one is gone. */
bool call_ref_living(struct call *c);
/* Ends calls whose request does not come, or whose client takes nothing, and
 * asks for the next call of who had to wait for memory. */
void calls_review(struct server *s);
/* It ends: who made it may not go on. */
void call_forbid(struct call *c, const char *why);
/* Who may see that capture has changed: calls of others about it end. */
void calls_restrict(struct server *s, uint64_t capture, const char *people);
void call_unref(struct call *c);

/* Takes bytes over in any case. */
void call_send(struct call *c, grpc_byte_buffer *bytes);
/* Between these, messages and the status only line up. Nobody else may be
 * sending messages: for who knows that the outbox is empty. False: the call is
 * over or about to be, whoever said so, and nothing is held. */
bool call_hold(struct call *c);
void call_release(struct call *c);
/* Waits for room; false: the call is over or the server stops, and nothing
 * was sent. */
bool call_send_wait(struct call *c, grpc_byte_buffer *bytes);
/* The status, after what is in the outbox. The first one counts. */
void call_finish(struct call *c, grpc_status_code status, const char *what,
		 const char *hint);
void call_fail(struct call *c, const struct err *e);
/* One message and OK: a unary call's answer. */
void call_answer(struct call *c, const ProtobufCMessage *m);
/* Nobody will read what is sent. */
bool call_is_over(struct call *c);
bool call_is_stopping(struct call *c);
void call_wake(struct call *c);
/* Its data connection, which is shut down when the call is over; -1: it has
 * none any more. */
void call_data(struct call *c, int fd);
/* A frame goes over it, and has gone: who takes nothing of that is dropped,
 * too. */
void call_passes(struct call *c);
void call_passed(struct call *c, uint64_t bytes);
/* Asks for another message, which goes to method->more. */
void call_receive(struct call *c);

/* --- admission.c: what each person may have at once --- */

/* Who comes first when places are short. */
enum rank { RANK_VIEWER, RANK_OPERATOR, RANK_ROOT, RANKS };

/* A place that somebody was refused is held so long by who takes nothing of
 * what is sent, or has a connection and no call. */
#define PLACE_HELD_NS (10 * NS_PER_S)

/* A user of this machine or a name of TLS, over all connections of it. */
struct person {
	/* Under the server's lock. */
	struct person *next, **link;
	unsigned n_callers;
	unsigned used[BOUNDS];
	/* Without it. */
	bool remote;
	uid_t uid;			   /* of this machine */
	char name[PERSON_MAX + 1];	   /* of TLS */
	_Atomic int64_t wanted_ns[BOUNDS]; /* when one was refused for it */
	struct frame_budgets frames;
};

/* Of one bound. */
struct places {
	unsigned used[RANKS]; /* under the server's lock */
	_Atomic int64_t wanted_ns[RANKS];
};

/* These four with the server's lock. It is known who c is; false: out of
 * memory. */
bool person_join(struct peer *c);
void person_leave(struct peer *c);
/* ERR_LIMIT: there is none for c. */
bool place_take(struct peer *c, enum bound b, struct err *e);
void place_give(struct peer *c, enum bound b);
/* Those that are gone, or all. */
void persons_forget(struct server *s, bool all);
/* Somebody was refused lately for what c has of it. */
bool place_is_wanted(struct peer *c, enum bound b, int64_t now);

/* --- peer.c: who is at the other end of a connection --- */

enum origin { FROM_SOCKET, FROM_SSH, FROM_TLS };
#define TICKET_BYTES 16

/* Who has no place is served for as long as it takes to hear why. */
enum place { PLACE_NONE, PLACE_ARRIVING, PLACE_TAKEN, PLACE_REFUSED, PLACES };
#define REFUSED_MAX 32

/* Each has a gRPC server of its own: what a call may do is known by where it
 * comes in, and not by a descriptor's number, which is used again. */
struct peer {
	struct server *server;
	atomic_uint refs; /* the server's list holds none */
	enum origin origin;
	char from[64];	/* address and port, or the user's number */
	char local[24]; /* "user 1000" of one on this machine */
	uid_t uid;
	char user[PERSON_MAX + 1]; /* its name, once user_known */
	atomic_bool user_known;
	bool is_root;	      /* or who runs pcapd */
	enum role local_role; /* of one on this machine */
	/* Once it is counted. */
	enum rank rank;
	struct person *person;
	int data_fd;	   /* it is a data connection; or -1 */
	grpc_server *grpc; /* NULL until it is served */
	atomic_bool ended;
	atomic_bool starved;	 /* there was no memory for its next call */
	atomic_uint n_calls;	 /* that have arrived */
	_Atomic int64_t idle_ns; /* since when there are none */
	struct err refusal; /* of all its calls; written before it is served */
	struct op op_stopped;
	uint64_t excluded; /* control_accept's number */
	bool is_carried;   /* by this connection to the ssh daemon; written
			    * before it is served */
	struct flow carrier;
	/* From here on of TLS, and written before it is served. */
	struct allowed allowed; /* as it was at the handshake */
	int64_t until_s;	/* of its certificate */

	/* Under the server's lock. */
	struct peer *next, **link;
	struct tls_link *tls; /* while there is one */
	enum place place;
	bool cut;     /* it makes room */
	bool served;  /* by gRPC */
	bool shaking; /* hands, since: */
	int64_t since_ns;
	bool doomed; /* it was told that it has to go */
	/* Of a data connection. */
	uint8_t ticket[TICKET_BYTES];
	bool has_ticket, taken;
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

/* --- proxy_protocol.c: who is behind pcap proxy --- */

#define PROXIED_LINE_MAX 107 /* of the PROXY protocol, version 1 */

struct proxy_protocol {
	int family;
	uint8_t client[16], server[16];
	uint16_t client_port, server_port;
};

/* The length of the line in front, 0 there is none, -1 not known yet. */
int proxy_protocol_line(const char *bytes, size_t n);
/* false: it names no connection. */
bool proxy_protocol_parse(const char *line, size_t n, struct proxy_protocol *p);
/* The kernel has it, it is root's, and root listens at its near port, as the
 * ssh daemon does. */
bool proxy_protocol_is_real(const struct proxy_protocol *p);
struct flow proxy_protocol_flow(const struct proxy_protocol *p);
void proxy_protocol_text(const struct proxy_protocol *p, char *out,
			 size_t room);

/* --- side_channel.c: a replay's frames beside gRPC --- */

#define DATA_LINE_BYTES 44

/* As proxy_protocol_line. */
int side_channel_line(const char *bytes, size_t n);
/* false: it names no ticket. */
bool side_channel_parse(const char line[DATA_LINE_BYTES],
			uint8_t ticket[TICKET_BYTES]);
/* c is a data connection from here on, and fd its own. false: it has to be
 * ended. */
bool side_channel_open(struct peer *c, const char line[DATA_LINE_BYTES],
		       int fd);
/* For one replay of `of`: a reference, for side_channel_end. NULL: there is no
 * such connection, or somebody has it. */
struct peer *side_channel_take(struct peer *of,
			       const ProtobufCBinaryData *ticket);
void side_channel_end(struct peer *c);
/* No replay has come for it, and none will. */
bool side_channel_is_idle(struct peer *c);
/* The frame of the cursor's last slice, and a byte that says whether it is
 * whole; if it is not, the cursor has counted it. Waits for the client. false:
 * that is gone, or call_data's call is over. */
bool side_channel_send(struct peer *c, struct cursor *from,
		       const struct block_info *info, bool *whole);

/* --- remote.c: TCP and TLS --- */

#define LISTEN_MAX OWN_CONNECTIONS_LISTENERS_MAX

struct tls_listener {
	struct allow *allow; /* NULL: nobody listens */
	struct config config;
	int fds[LISTEN_MAX];
	unsigned n_fds;
	pthread_mutex_t lock; /* guards everything below */
	struct ssl_ctx_st *context;
	int64_t files_ns[3]; /* when they were changed */
	bool files_failed;   /* they are tried again */
};

bool tls_listener_open(struct server *s, const struct config *c, struct err *e);
/* A connection waits at fd. On the accepting thread. */
void tls_listener_accept(struct server *s, int fd);
/* What was changed in the files since. On the accepting thread. */
void tls_listener_look(struct server *s);
/* Nobody can connect any more. */
void tls_listener_shut(struct server *s);
void tls_listener_close(struct server *s);

/* --- broadcast.c: from a capture tail to the queues of its listeners --- */

/* That wait to be handed out to the listeners of one capture tail. */
#define CROWD_SLICES 32

struct broadcast;

struct subscriber {
	struct slice_queue queue;
	/* Under the broadcasts' lock. */
	struct broadcast *crowd; /* NULL: it is in none */
	struct subscriber *next, **link;
};

struct broadcasts {
	sem_t work;
	atomic_bool woken, stop;
	pthread_mutex_t lock; /* guards everything below, and handing out */
	struct broadcast *first;
};

void broadcasts_init(struct broadcasts *all);
void broadcasts_done(struct broadcasts *all); /* all have left */
/* Hands out until broadcasts_stop, on a thread of the server. */
void broadcasts_run(struct broadcasts *all);
void broadcasts_stop(struct broadcasts *all);
/* From here on m->queue gets what is published; it is closed with the capture
 * tail. A slice without a block is packets that all listeners of the capture
 * tail lost. The feed has to stay until m leaves. false: out of memory. */
bool broadcast_join(struct broadcasts *all, struct capture_tail *feed,
		    struct subscriber *m);
/* Closes the queue behind what is published already. */
void broadcast_close(struct broadcasts *all, struct subscriber *m);
/* After it returns nothing is pushed. false: it was in no broadcast. */
bool broadcast_leave(struct broadcasts *all, struct subscriber *m);

/* --- server.c --- */

struct visit;

struct unix_listener {
	char path[CONFIG_PATH_MAX];
	int lock_fd, listen_fd, epoll_fd, stop_fd;
	bool has_viewers;
	gid_t operators, viewers; /* with has_viewers */
	struct visit *visits;	  /* the accepting thread's */
	unsigned n_silent;	  /* of them that gRPC never had */
	unsigned most_callers;	  /* since memory was given back */
	int64_t given_back_ns;
	int64_t patience_ns;
	int64_t waited_ns; /* when it was said that connections wait */
};

struct pump {
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t work;
	struct listener *ready, **ready_end;
	bool stop;
};

struct thread {
	pthread_t id;
	bool running;
};

struct server {
	struct control *control;
	atomic_uint limits[BOUNDS];
	atomic_uint max_peer_connections;
	atomic_uint max_streams; /* of one connection */
	atomic_uint max_message;
	atomic_uint queue_blocks; /* of a listener */
	atomic_uint request_timeout_s, send_timeout_s;
	atomic_bool stopping;
	grpc_completion_queue *cq;
	struct block_pool *pool; /* for what filters and snaplens copy */
	struct unix_listener gate;
	struct tls_listener remote;
	struct broadcasts crowds;
	struct pump pump;
	struct thread accept_thread, cq_thread, fanout_thread, pump_thread;
	struct thread workers[WORKERS];

	pthread_mutex_t lock;	/* guards everything below */
	pthread_cond_t changed; /* calls, callers */
	pthread_cond_t work_ready;
	struct call *calls;
	struct peer *callers;
	unsigned n_callers, n_places[PLACES];
	struct person *persons;
	struct places places[BOUNDS];
	int64_t refusals_ns; /* a while, and the rows of refusals in it */
	unsigned refusals;
	struct call *work, **work_end;
	bool workers_stop;
};

/* imports: it may get messages of more than REQUEST_MAX. */
grpc_server *server_make_grpc(struct server *s, bool imports);
/* The next call of one, NULL: of all, with a reference; c: NULL, or the one
 * before, whose reference is given back. Who comes meanwhile may be left out.
 */
struct call *server_next_call(struct server *s, const struct peer *of,
			      struct call *c);

/* The call joins the server's list; false: over its method's bound. */
bool server_admit(struct server *s, struct call *c, struct err *e);
void server_enlist(struct server *s, struct call *c);
void server_dismiss(struct server *s, struct call *c);
void server_work(struct server *s, struct call *c);
/* A thread that nobody joins, with so much stack (0: the usual). false: errno
 * says why. */
bool server_thread(void *(*body)(void *), void *arg, size_t stack_bytes);

/* --- unix_listener.c: the UNIX socket, and the thread that accepts --- */

bool unix_listener_open(struct unix_listener *g, const struct config *c,
			struct err *e);
bool unix_listener_watch(struct unix_listener *g, int *fd, struct err *e);
/* Its own, one to see its end, and the pair of one that is guarded. */
#define CONNECTION_FDS 4
/* As many as a connection takes, so that it waits where it could only be
 * refused; false: errno says why. */
bool unix_listener_has_descriptors(const struct unix_listener *g);
/* After an accept that failed: a pause when there are no descriptors. */
void unix_listener_back_off(struct unix_listener *g);
/* Accepts until unix_listener_stop, on a thread of the server. */
void unix_listener_run(struct unix_listener *g, struct server *s);
void unix_listener_stop(struct unix_listener *g);
/* unix_listener_run has returned: nobody can connect any more. */
void unix_listener_shut(struct unix_listener *g);
/* Cuts every connection of the socket off. */
void unix_listener_cut(struct unix_listener *g);
void unix_listener_close(struct unix_listener *g);

/* --- wire.c: messages and bytes --- */

#define WIRE_HEAD_MAX 64
/* A message takes twice its bytes and this, at most. */
#define WIRE_ROOM (16u << 10)

grpc_byte_buffer *wire_pack(const ProtobufCMessage *m);
/* NULL: it is no such message, or takes too much; text must be UTF-8. To be
 * freed without an allocator. */
ProtobufCMessage *wire_unpack(const ProtobufCMessageDescriptor *d,
			      grpc_byte_buffer *bytes, struct err *e);
/* Everything of PacketStream{Packets} up to the data. Returns its length. */
struct packets_head {
	uint64_t count, blocks_done;
	uint64_t zstd_raw_bytes; /* 0: the data is not compressed */
	uint64_t beside_bytes;	 /* 0: the data is here */
	uint64_t data_bytes;
};
size_t wire_packets_head(uint8_t out[WIRE_HEAD_MAX],
			 const struct packets_head *h);
/* Takes over the slice's reference; a slice without a block has no data. */
grpc_byte_buffer *wire_packets(const struct slice *s, uint64_t blocks_done);
/* Of a stored block whose frame goes over the data connection. */
grpc_byte_buffer *wire_beside(const struct block_info *info,
			      uint64_t blocks_done);
/* For the header of a stream: no packet of it is larger. asked: the client's,
 * or 0. live: with what comes from here on. */
uint32_t wire_snaplen(const struct capture_view *v, uint32_t asked, bool live);
grpc_byte_buffer *wire_header(const struct capture_view *v, uint32_t link_type,
			      uint32_t snaplen, uint64_t blocks);
grpc_byte_buffer *wire_lost(uint64_t packets, const char *reason);
grpc_byte_buffer *wire_end(const Pcap__V1__End *end);
/* Points into v and aliases of v. */
void wire_capture(Pcap__V1__Capture *m, const struct capture_view *v);
/* A Coverage with at most max_rows rows: all in one allocation, to free().
 * Points into c. NULL: *e. */
Pcap__V1__Coverage *wire_coverage(const struct coverage *c, size_t max_rows,
				  struct err *e);

/* --- text.c: what may leave the process --- */

bool text_is_utf8(const char *s);
/* Replaces what is not UTF-8 by '?'. */
void text_clean(char *s);
/* Printable ASCII stays, everything else and '%' becomes %XX. */
void text_percent(char *out, size_t n, const char *s);

/* --- audit.c --- */

/* It has a request, and runs. Not on the completion-queue thread. */
void audit_begin(struct call *c);
/* Its answer says that not all was done: so does its row. ERR_NONE: all was. */
void audit_outcome(struct call *c, const struct err *e);
/* It is over. */
void audit_end(struct call *c);
/* Of a connection that gRPC never has. */
void audit_refused(struct peer *c);
void run_audit(struct call *c);

/* --- the methods --- */

void health_check(struct call *c);
void health_watch(struct call *c);
void reflection_start(struct call *c);
void reflection_more(struct call *c, ProtobufCMessage *m);
void reflection_idle(struct call *c);
void reflection_stop(struct call *c);

void run_version(struct call *c);
void run_interfaces(struct call *c);
void run_init(struct call *c);
void run_start(struct call *c);
void run_stop(struct call *c);
void run_list(struct call *c);
void run_delete(struct call *c);
void run_add_alias(struct call *c);
void run_remove_alias(struct call *c);

void run_status(struct call *c);
void run_gaps(struct call *c);
void run_set(struct call *c);
void run_would_remove(struct call *c);
void run_hold(struct call *c);
void run_release(struct call *c);
void run_mark(struct call *c);

void run_replay(struct call *c);
void run_explain(struct call *c);
void run_count(struct call *c);

void run_import(struct call *c);
void import_more(struct call *c, ProtobufCMessage *m);

void run_listen(struct call *c);
void listen_idle(struct call *c);
void listen_closed(struct call *c);
void listen_stop(struct call *c);
void pump_run(struct server *s);
void pump_stop(struct server *s);
void listener_free(struct listener *l); /* NULL is fine */

/* A stream is a savefile, which has one link type. */
#define LOST_LINK_TYPE "link type changed"
#define LINK_UNKNOWN 1 /* in the header of a stream without packets */
/* An interface that was never there has none. 0 is one: LINKTYPE_NULL. */
static inline bool link_known(const struct capture_row *r)
{
	return r->link_type != 0 || r->savefile;
}

/* Common checks of requests. */
bool check_name(const char *name, struct err *e);
/* And the capture is there for the caller: who may not see it is told that it
 * is not there. */
bool check_capture(struct call *c, const char *name, struct err *e);
/* control_find for a stream of packets: from here on calls_restrict ends it. */
bool find_seen(struct call *c, const char *name, struct capture_view *v,
	       struct capture_tail **f, struct err *e);
/* control_list without what the caller may not see. */
bool list_seen(struct call *c, const char *name, struct capture_view **v,
	       size_t *n, struct err *e);
/* Names with blanks or commas between, as they are stored. */
bool check_people(const char *given, char people[PEOPLE_MAX + 1],
		  struct err *e);
/* As check_people gives them: each is a user or has a certificate. */
bool check_known(struct call *c, const char *people, struct err *e);
bool check_snaplen(uint32_t snaplen, struct err *e);
bool check_keep(uint64_t bytes, int64_t age_ns, struct err *e);
bool check_range(int64_t since_ns, int64_t until_ns, struct err *e);
/* A filter of the caller's, for packets in memory. It waits: on a thread of the
 * call. */
struct bpf_filter *call_filter(struct call *c, const char *text,
			       uint32_t link_type, uint32_t snaplen,
			       struct err *e);
/* A ChangeResponse of one capture; v is done. */
void answer_change(struct call *c, struct capture_view *v);

#endif
