/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server's life. Guarantees that every thread that server_start made is
 * gone after server_stop, and that the streams of clients which still read
 * end with an End. Leaves out what is served: see methods_captures.c.
 */
#include "server/server_internal.h"

#include "base/log.h"
#include "server/audit.h"
#include "server/call.h"
#include "server/health.h"
#include "store/audit.h"

#include <assert.h>
#include <errno.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* gRPC takes a message that is over max-message by less than that much, so that
 * it is answered with the bound's name and not with gRPC's words. What has come
 * of a message is kept until it is whole. */
#define MESSAGE_REFUSED (1 << 20)
#define METADATA_MAX (16 << 10)
/* So many calls more than max-streams are answered that there are too many;
 * then gRPC has the client wait. */
#define STREAMS_REFUSED 64
#define FLUSH_MS 500

/* --- calls under way --- */

void server_enlist(struct server *s, struct call *c)
{
	pthread_mutex_lock(&s->lock);
	LIST_INSERT_HEAD(&s->calls, c, entry);
	pthread_mutex_unlock(&s->lock);
}

bool server_admit(struct server *s, struct call *c, struct err *e)
{
	if (atomic_load(&s->stopping) && c->method->start != health_check)
		return err_set(e, ERR_UNREACHABLE, "pcapd is stopping");
	pthread_mutex_lock(&s->lock);
	c->bounded = place_take(c->peer, c->method->bound, e);
	pthread_mutex_unlock(&s->lock);
	return c->bounded ||
	       err_hint(e, "Try again when one of them has ended.");
}

void server_dismiss(struct server *s, struct call *c)
{
	pthread_mutex_lock(&s->lock);
	if (c->bounded)
		place_give(c->peer, c->method->bound);
	if (c->phase != CALL_AWAITED) {
		LIST_REMOVE(c, entry);
		atomic_store(&c->peer->idle_ns, monotonic_ns());
		atomic_fetch_sub(&c->peer->n_calls, 1);
	}
	free(c);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* --- workers --- */

static void server_work(struct server *s, struct call *c)
{
	call_ref(c);
	pthread_mutex_lock(&s->lock);
	STAILQ_INSERT_TAIL(&s->work, c, work_entry);
	pthread_cond_signal(&s->work_ready);
	pthread_mutex_unlock(&s->lock);
}

static struct call *next_work(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	while (STAILQ_EMPTY(&s->work) && !s->workers_stop)
		pthread_cond_wait(&s->work_ready, &s->lock);
	struct call *c = STAILQ_FIRST(&s->work);
	if (c)
		STAILQ_REMOVE_HEAD(&s->work, work_entry);
	pthread_mutex_unlock(&s->lock);
	return c;
}

static void *worker_main(void *arg)
{
	struct call *c;

	while ((c = next_work(arg))) {
		audit_begin(c);
		c->method->run(c);
		call_unref(c);
	}
	return NULL;
}

void start_on_worker(struct call *c)
{
	server_work(c->server, c);
}

static void *call_main(void *arg)
{
	struct call *c = arg;

	audit_begin(c);
	/* What is sent would be captured, and sent again. */
	if (c->peer->carrier.family && c->method->bound != BOUND_CALLS)
		c->excluded =
			control_exclude(c->server->control, &c->peer->carrier);
	c->method->run(c);
	call_unref(c);
	return NULL;
}

bool server_thread(void *(*body)(void *), void *arg, size_t stack_bytes)
{
	pthread_attr_t attr;
	pthread_t id;

	pthread_attr_init(&attr);
	/* Nobody joins it: server_stop waits for what it holds. */
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (stack_bytes)
		pthread_attr_setstacksize(&attr, stack_bytes);
	errno = pthread_create(&id, &attr, body, arg);
	pthread_attr_destroy(&attr);
	return errno == 0;
}

void start_on_thread(struct call *c)
{
	call_ref(c);
	if (server_thread(call_main, c, 0))
		return;
	call_finish(c, GRPC_STATUS_RESOURCE_EXHAUSTED,
		    "pcapd cannot make another thread", NULL);
	call_unref(c);
}

/* --- threads --- */

static void handle_events(struct server *s)
{
	for (;;) {
		grpc_event event = grpc_completion_queue_next(
			s->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

		if (event.type == GRPC_QUEUE_SHUTDOWN)
			return;
		op_end(event.tag, event.success);
	}
}

static void *cq_main(void *arg)
{
	handle_events(arg);
	return NULL;
}

static void *accept_main(void *arg)
{
	struct server *s = arg;

	unix_listener_run(&s->unix_listener, s);
	return NULL;
}

static void *broadcast_main(void *arg)
{
	struct server *s = arg;

	broadcasts_run(&s->broadcasts);
	return NULL;
}

static void *server_pump_main(void *arg)
{
	pump_run(arg);
	return NULL;
}

static bool thread_start(struct thread *t, const char *name,
			 void *(*body)(void *), struct server *s, struct err *e)
{
	errno = pthread_create(&t->id, NULL, body, s);
	if (errno)
		return err_errno(e, "make a thread");
	pthread_setname_np(t->id, name);
	t->running = true;
	return true;
}

static void thread_join(struct thread *t)
{
	if (t->running)
		pthread_join(t->id, NULL);
	t->running = false;
}

/* --- start --- */

grpc_server *server_make_grpc(struct server *s, bool imports)
{
	unsigned most = atomic_load(&s->max_message);
	unsigned refused = MESSAGE_REFUSED;

	if (!imports) {
		most = most < REQUEST_MAX ? most : REQUEST_MAX;
		refused = REQUEST_MAX;
	}
	grpc_arg args[] = {
		{.type = GRPC_ARG_INTEGER,
		 .key = GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		 .value.integer = (int)(most + refused)},
		{.type = GRPC_ARG_INTEGER,
		 .key = GRPC_ARG_MAX_CONCURRENT_STREAMS,
		 .value.integer =
			 (int)atomic_load(&s->max_streams) + STREAMS_REFUSED},
		/* gRPC answers what is over it. */
		{.type = GRPC_ARG_INTEGER,
		 .key = GRPC_ARG_MAX_METADATA_SIZE,
		 .value.integer = METADATA_MAX},
		/* None but identity: a small message may not become a big
		 * one. */
		{.type = GRPC_ARG_INTEGER,
		 .key = GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
		 .value.integer = 1 << GRPC_COMPRESS_NONE},
	};
	grpc_channel_args all = {sizeof(args) / sizeof(args[0]), args};

	return grpc_server_create(&all, NULL);
}

static void server_free(struct server *s)
{
	unix_listener_close(&s->unix_listener);
	tls_listener_close(s);
	if (s->cq)
		grpc_completion_queue_destroy(s->cq);
	block_pool_unref(s->pool);
	broadcasts_done(&s->broadcasts);
	pthread_cond_destroy(&s->pump.work);
	pthread_mutex_destroy(&s->pump.lock);
	pthread_cond_destroy(&s->work_ready);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	persons_forget(s, true);
	free(s);
}

static bool start_threads(struct server *s, struct err *e)
{
	for (unsigned i = 0; i < WORKERS; i++)
		if (!thread_start(&s->workers[i], "pcapd-worker", worker_main,
				  s, e))
			return false;
	return thread_start(&s->broadcast_thread, "pcapd-broadcast",
			    broadcast_main, s, e) &&
	       thread_start(&s->pump_thread, "pcapd-pump", server_pump_main, s,
			    e) &&
	       thread_start(&s->accept_thread, "pcapd-accept", accept_main, s,
			    e);
}

static struct server *server_new(struct control *ctl, const struct config *c)
{
	struct server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->control = ctl;
	STAILQ_INIT(&s->work);
	STAILQ_INIT(&s->pump.ready);
	s->unix_listener = (struct unix_listener){
		.lock_fd = -1, .listen_fd = -1, .epoll_fd = -1, .stop_fd = -1};
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->tls_listener.lock, NULL);
	cond_init(&s->changed);
	pthread_cond_init(&s->work_ready, NULL);
	broadcasts_init(&s->broadcasts);
	pthread_mutex_init(&s->pump.lock, NULL);
	pthread_cond_init(&s->pump.work, NULL);
	server_configure(s, c);
	return s;
}

struct server *server_start(struct control *ctl, const struct config *c,
			    struct err *e)
{
	struct server *s = server_new(ctl, c);

	if (!s) {
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	s->pool = block_pool_new(4);
	if (!s->pool) {
		err_set(e, ERR_FAILED, "out of memory");
		goto fail;
	}
	if (!unix_listener_open(&s->unix_listener, c, e) ||
	    !tls_listener_open(s, c, e))
		goto fail;
	/* The first looks into the catalog; no call has to. */
	audit_next(control_store(ctl));
	s->cq = grpc_completion_queue_create_for_next(NULL);
	if (!thread_start(&s->cq_thread, "pcapd-grpc", cq_main, s, e)) {
		grpc_completion_queue_shutdown(s->cq);
		handle_events(s);
		goto fail;
	}
	if (!start_threads(s, e)) {
		server_stop(s, 0);
		return NULL;
	}
	return s;
fail:
	server_free(s);
	return NULL;
}

void server_configure(struct server *s, const struct config *c)
{
	atomic_store(&s->limits[BOUND_REPLAYS], (unsigned)c->max_replays);
	atomic_store(&s->limits[BOUND_LISTENERS], (unsigned)c->max_listeners);
	atomic_store(&s->limits[BOUND_CALLS], (unsigned)c->max_calls);
	atomic_store(&s->limits[BOUND_IMPORTS], (unsigned)c->max_imports);
	atomic_store(&s->max_streams, (unsigned)c->max_streams);
	atomic_store(&s->request_timeout_s, (unsigned)c->request_timeout_s);
	atomic_store(&s->send_timeout_s, (unsigned)c->send_timeout_s);
	atomic_store(&s->limits[BOUND_CONNECTIONS],
		     (unsigned)c->max_connections);
	atomic_store(&s->max_peer_connections,
		     (unsigned)c->max_peer_connections);
	atomic_store(&s->max_message, (unsigned)c->max_message);
	atomic_store(&s->queue_blocks,
		     (unsigned)(c->listener_queue / BLOCK_MAX));
	bpf_filter_configure((unsigned)c->max_filter,
			     (unsigned)c->max_filter_program);
}

/* --- stop --- */

static void stop_call(struct call *c)
{
	pthread_mutex_lock(&c->lock);
	enum call_phase phase = c->phase;
	pthread_mutex_unlock(&c->lock);
	if (phase == CALL_ARRIVED)
		call_finish(c, GRPC_STATUS_UNAVAILABLE, "pcapd is stopping",
			    NULL);
	else if (phase == CALL_STARTED && c->method->stop)
		c->method->stop(c);
	call_wake(c);
}

struct call *server_next_call(struct server *s, const struct peer *of,
			      struct call *c)
{
	struct call *behind = c;

	pthread_mutex_lock(&s->lock);
	c = c ? LIST_NEXT(c, entry) : LIST_FIRST(&s->calls);
	/* One that is being freed has no references to add to. */
	while (c && ((of && c->peer != of) || !call_ref_living(c)))
		c = LIST_NEXT(c, entry);
	pthread_mutex_unlock(&s->lock);
	if (behind)
		call_unref(behind);
	return c;
}

static void stop_calls(struct server *s)
{
	struct call *c = NULL;

	while ((c = server_next_call(s, NULL, c)))
		stop_call(c);
}

static bool no_calls(const struct server *s)
{
	return LIST_EMPTY(&s->calls);
}

static bool is_stopped(const struct server *s)
{
	return LIST_EMPTY(&s->calls) && LIST_EMPTY(&s->peers);
}

static bool wait_until(struct server *s, bool (*reached)(const struct server *),
		       int ms)
{
	int64_t until = monotonic_ns() + ms * (NS_PER_S / 1000);
	bool late = false;

	pthread_mutex_lock(&s->lock);
	while (!reached(s) && !late)
		late = !cond_wait_until(&s->changed, &s->lock, until);
	bool yes = reached(s);
	pthread_mutex_unlock(&s->lock);
	return yes;
}

/* What was sent may still lie in a connection's buffer: closing that is left
 * to gRPC for a while. A client that does not read would make it wait for
 * ever. */
static void stop_grpc(struct server *s)
{
	peers_end(s);
	if (!wait_until(s, is_stopped, FLUSH_MS)) {
		peers_cut(s, false);
		unix_listener_cut(&s->unix_listener);
	}
	pthread_mutex_lock(&s->lock);
	while (!is_stopped(s))
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void server_stop(struct server *s, int grace_ms)
{
	if (!s)
		return;
	atomic_store(&s->stopping, true);
	unix_listener_stop(&s->unix_listener);
	thread_join(&s->accept_thread);
	unix_listener_shut(&s->unix_listener);
	tls_listener_shut(s);
	peers_cut(s, true);
	stop_calls(s);
	if (!wait_until(s, no_calls, grace_ms))
		log_warn("some clients did not take their answers in %d ms; "
			 "they are cut off",
			 grace_ms);
	stop_grpc(s);
	pthread_mutex_lock(&s->lock);
	s->workers_stop = true;
	pthread_cond_broadcast(&s->work_ready);
	pthread_mutex_unlock(&s->lock);
	broadcasts_stop(&s->broadcasts);
	pump_stop(s);
	for (unsigned i = 0; i < WORKERS; i++)
		thread_join(&s->workers[i]);
	thread_join(&s->broadcast_thread);
	thread_join(&s->pump_thread);
	grpc_completion_queue_shutdown(s->cq);
	thread_join(&s->cq_thread);
	server_free(s);
}
