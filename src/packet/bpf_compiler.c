/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filters compiled in processes beside. Guarantees that no caller waits longer
 * than its deadline, that what was not finished by then does not go on,
 * and that a program which comes back is one (bpf_validate). A process ends as
 * soon as nobody waits for it: it sees its connection end. Leaves out what a
 * filter means: bpf_filter.c.
 */
#include "packet/bpf_compiler.h"
#include "packet/bpf_cache.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Between two questions whether to go on. */
#define LOOK_MS 100
/* Such a text is compiled in milliseconds; see SHORT_TEXT of bpf_filter.c. */
#define LONG_TEXT 1024

/* To a process that compiles. The text is behind it, and its end. */
struct compile_request {
	uint32_t link_type, snaplen;
	uint32_t text_max, program_max;
	char interface[FILTER_INTERFACE_MAX]; /* "": for packets in memory */
	bool absent;
	char text[BPF_FILTER_TEXT_MAX + 1];
};

/* Back, with n instructions behind it; with an error there are none. */
struct compile_answer {
	uint32_t link_type, n;
	struct err error;
};

enum bpf_compiler_kind { BPF_COMPILER_PLAIN, BPF_COMPILER_NAMES, COMPILERS };
/* Who waits for whom: viewers hold up no operator, names hold up nobody else.*/
enum bpf_compiler_class {
	CLASS_VIEWERS,
	CLASS_OPERATORS,
	CLASS_INTERFACES,
	CLASS_NAMES,
	CLASSES
};

static filter_compile_on *compile_on;
static int compiler_fds[COMPILERS] = {-1, -1};

/* What is compiled. */
struct compile_slot {
	bool is_taken, is_long;
	const void *person;
};

static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER; /* guards all */
static struct compile_slot slots[CLASSES][FILTER_COMPILE_MAX];

static bool text_is_long(const char *text)
{
	return strlen(text) > LONG_TEXT;
}

static int64_t bpf_compiler_time_ns(const char *text)
{
	return text_is_long(text) ? FILTER_COMPILE_LONG_NS : FILTER_COMPILE_NS;
}

/* --- in a process that compiles --- */

static void *bpf_compiler_watch(void *arg)
{
	struct pollfd fd = {.fd = *(int *)arg, .events = POLLRDHUP};

	while (poll(&fd, 1, -1) < 0 && errno == EINTR)
		;
	_exit(0);
}

static bool bpf_compiler_write(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n) {
		ssize_t wrote = send(fd, at, n, MSG_NOSIGNAL);

		if (wrote <= 0)
			return false;
		at += wrote;
		n -= (size_t)wrote;
	}
	return true;
}

static void bpf_compiler_limit(const struct compile_request *q)
{
	const rlim_t seconds = bpf_compiler_time_ns(q->text) / NS_PER_S;
	struct rlimit cpu = {seconds, seconds}, none = {0, 0};

	setrlimit(RLIMIT_CPU, &cpu);
	setrlimit(RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	struct rlimit memory = {FILTER_COMPILE_BYTES, FILTER_COMPILE_BYTES};
	setrlimit(RLIMIT_AS, &memory);
#endif
	if (text_is_long(q->text))
		setpriority(PRIO_PROCESS, 0, 10);
}

static struct bpf_filter *bpf_compiler_compile(const struct compile_request *q,
					       uint32_t *link_type,
					       struct err *e)
{
	*link_type = q->link_type;
	bpf_filter_configure(q->text_max, q->program_max);
	if (q->absent)
		return bpf_filter_compile_absent(q->text, q->snaplen, e);
	if (*q->interface)
		return compile_on(q->interface, q->text, q->snaplen, link_type,
				  e);
	return bpf_filter_compile(q->text, q->link_type, q->snaplen, e);
}

static void bpf_compiler_serve(const struct compile_request *q, int fd)
{
	struct compile_answer a = {0};
	pthread_t thread;

	bpf_compiler_limit(q);
	if (pthread_create(&thread, NULL, bpf_compiler_watch, &fd) != 0)
		return;
	struct bpf_filter *f = bpf_compiler_compile(q, &a.link_type, &a.error);
	if (f)
		a.n = f->program.bf_len;
	if (bpf_compiler_write(fd, &a, sizeof(a)) && f)
		bpf_compiler_write(fd, f->program.bf_insns,
				   f->program.bf_len * sizeof(struct bpf_insn));
}

/* A request, and the connection that wants the answer. */
static bool bpf_compiler_receive(int from, struct compile_request *q, int *fd)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {q, sizeof(*q)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	ssize_t n;

	*fd = -1;
	while ((n = recvmsg(from, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return n == (ssize_t)sizeof(*q) && *fd >= 0;
}

/* Until pcapd is gone. Those that were made are not waited for: the kernel
 * takes them away. */
static void bpf_compiler_main(int from)
{
	static struct compile_request q;
	int fd;

	signal(SIGCHLD, SIG_IGN);
	while (bpf_compiler_receive(from, &q, &fd)) {
		if (fork() == 0) {
			close(from);
			bpf_compiler_serve(&q, fd);
			_exit(0);
		}
		close(fd);
	}
	_exit(0);
}

/* --- in pcapd --- */

/* Its first word is whether it is confined. */
static void bpf_compiler_begin(int fd, enum bpf_compiler_kind kind,
			       filter_confine *confine, void *ctx)
{
	struct err e = ERR_INIT;

	confine(ctx, kind == BPF_COMPILER_NAMES, &e);
	if (bpf_compiler_write(fd, &e, sizeof(e)) && !e.kind)
		bpf_compiler_main(fd);
	_exit(1);
}

static bool bpf_compiler_make(enum bpf_compiler_kind kind,
			      filter_confine *confine, void *ctx, struct err *e)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, "make a compiler of filters");
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		bpf_compiler_begin(pair[1], kind, confine, ctx);
	}
	close(pair[1]);
	compiler_fds[kind] = pair[0];
	return pid >= 0 || err_errno(e, "make a compiler of filters");
}

/* Until it is confined. */
static bool bpf_compiler_await(enum bpf_compiler_kind kind, struct err *e)
{
	struct err said = ERR_INIT;

	if (recv(compiler_fds[kind], &said, sizeof(said), 0) != sizeof(said))
		return err_set(e, ERR_FAILED, "the compiler of filters ended");
	if (said.kind)
		*e = said;
	return !said.kind;
}

bool bpf_compiler_start(filter_compile_on *on, filter_confine *confine,
			void *ctx, struct err *e)
{
	compile_on = on;
	return bpf_compiler_make(BPF_COMPILER_PLAIN, confine, ctx, e) &&
	       bpf_compiler_make(BPF_COMPILER_NAMES, confine, ctx, e);
}

bool bpf_compiler_ready(struct err *e)
{
	return bpf_compiler_await(BPF_COMPILER_PLAIN, e) &&
	       bpf_compiler_await(BPF_COMPILER_NAMES, e);
}

bool bpf_compiler_runs(void)
{
	return compiler_fds[BPF_COMPILER_NAMES] >= 0;
}

/* False: the deadline is over, or nobody waits. */
static bool bpf_compiler_may_wait(const struct filter_request *q,
				  int64_t deadline_ns, struct err *e)
{
	if (q->go_on && !q->go_on(q->ctx))
		return err_set(e, ERR_CANCELLED, "filter: nobody waits for it");
	if (monotonic_ns() < deadline_ns)
		return true;
	err_set(e, ERR_LIMIT, "filter: it was not compiled within %lld s",
		(long long)(bpf_compiler_time_ns(q->text) / NS_PER_S));
	return err_hint(e, "Give addresses for names of hosts, and networks "
			   "or ranges for lists.");
}

/* How many of a class are as long and of that person; NULL: of anybody. */
static unsigned slot_count(const struct compile_slot *of, bool is_long,
			   const void *person)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FILTER_COMPILE_MAX; i++)
		n += of[i].is_taken && of[i].is_long >= is_long &&
		     (!person || of[i].person == person);
	return n;
}

/* Long ones have half of the slots, and one person has half of either. NULL:
 * there is no room. */
static struct compile_slot *slot_take(struct compile_slot *of, bool is_long,
				      const void *person)
{
	unsigned most = FILTER_COMPILE_MAX;
	struct compile_slot *free = NULL;
	bool room = true;

	pthread_mutex_lock(&slots_lock);
	for (int i = 0; room && i <= is_long; i++, most /= 2)
		room = slot_count(of, i, NULL) < most &&
		       (!person || slot_count(of, i, person) < most / 2);
	for (unsigned i = 0; room && i < FILTER_COMPILE_MAX; i++)
		if (!of[i].is_taken)
			free = &of[i];
	if (free)
		*free = (struct compile_slot){true, is_long, person};
	pthread_mutex_unlock(&slots_lock);
	return free;
}

static void slot_give_back(struct compile_slot *slot)
{
	pthread_mutex_lock(&slots_lock);
	slot->is_taken = false;
	pthread_mutex_unlock(&slots_lock);
}

/* The end of a connection to a process that compiles this. -1: see e. */
static int bpf_compiler_ask(enum bpf_compiler_kind kind,
			    const struct filter_request *q, struct err *e)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct compile_request *r = calloc(1, sizeof(*r));
	struct iovec iov = {r, sizeof(*r)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	int pair[2] = {-1, -1};

	if (!r || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		goto fail;
	r->link_type = q->link_type;
	r->snaplen = q->snaplen;
	r->absent = q->absent;
	bpf_filter_bounds(&r->text_max, &r->program_max);
	snprintf(r->interface, sizeof(r->interface), "%s",
		 q->interface ? q->interface : "");
	snprintf(r->text, sizeof(r->text), "%s", q->text);
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &pair[1], sizeof(int));
	if (sendmsg(compiler_fds[kind], &m, MSG_NOSIGNAL) < 0)
		goto fail;
	close(pair[1]);
	free(r);
	return pair[0];
fail:
	err_errno(e, "filter: ask for it to be compiled");
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
	free(r);
	return -1;
}

/* Exactly n bytes. */
static bool bpf_compiler_read(int fd, void *to, size_t n,
			      const struct filter_request *q,
			      int64_t deadline_ns, struct err *e)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char *at = to;

	while (n) {
		if (!bpf_compiler_may_wait(q, deadline_ns, e))
			return false;
		if (poll(&p, 1, LOOK_MS) <= 0)
			continue;
		ssize_t got = recv(fd, at, n, MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return err_set(e, ERR_LIMIT,
				       "filter: compiling it takes more memory "
				       "or time than it may");
		at += got;
		n -= (size_t)got;
	}
	return true;
}

static struct bpf_filter *bpf_compiler_take(int fd,
					    const struct filter_request *q,
					    uint32_t *link_type,
					    int64_t deadline_ns, struct err *e)
{
	static struct bpf_insn nothing;
	struct compile_answer a;
	struct bpf_filter *f = NULL;

	if (!bpf_compiler_read(fd, &a, sizeof(a), q, deadline_ns, e))
		return NULL;
	a.error.what[sizeof(a.error.what) - 1] = '\0';
	a.error.hint[sizeof(a.error.hint) - 1] = '\0';
	if (a.error.kind > ERR_NONE && a.error.kind < ERR_KINDS) {
		*e = a.error;
		if (e->reason < 0 || e->reason >= ERR_REASONS)
			e->reason = REASON_OF_KIND;
		return NULL;
	}
	if (a.n == 0 || a.n > BPF_FILTER_INSNS_MAX) {
		err_set(e, ERR_FAILED, "filter: the compiler gave no program");
		return NULL;
	}
	size_t bytes = a.n * sizeof(nothing);
	void *program = malloc(bytes);
	if (!program)
		err_no_memory(e, "filter");
	else if (bpf_compiler_read(fd, program, bytes, q, deadline_ns, e))
		f = bpf_filter_from_program(program, bytes, e);
	free(program);
	*link_type = a.link_type;
	return f;
}

static struct bpf_filter *bpf_compiler_try(enum bpf_compiler_kind kind,
					   enum bpf_compiler_class class,
					   const struct filter_request *q,
					   uint32_t *link_type,
					   int64_t deadline_ns, struct err *e)
{
	bool is_long = text_is_long(q->text);
	struct timespec pause = {0, 10 * 1000000};
	struct compile_slot *slot;
	struct bpf_filter *f = NULL;

	while (!(slot = slot_take(slots[class], is_long, q->person))) {
		if (!bpf_compiler_may_wait(q, deadline_ns, e))
			return NULL;
		nanosleep(&pause, NULL);
	}
	int fd = bpf_compiler_ask(kind, q, e);
	if (fd >= 0) {
		f = bpf_compiler_take(fd, q, link_type, deadline_ns, e);
		close(fd);
	}
	slot_give_back(slot);
	return f;
}

static struct bpf_filter *bpf_compiler_in_place(const struct filter_request *q,
						uint32_t *link_type,
						struct err *e)
{
	*link_type = q->link_type;
	return bpf_filter_compile(q->text, q->link_type, q->snaplen, e);
}

/* For packets in memory. */
static struct bpf_filter *
bpf_compiler_compile_beside(const struct filter_request *q, uint32_t *link_type,
			    int64_t deadline_ns, struct err *e)
{
	struct bpf_filter *f =
		bpf_compiler_try(BPF_COMPILER_PLAIN,
				 q->operator? CLASS_OPERATORS : CLASS_VIEWERS,
				 q, link_type, deadline_ns, e);

	if (f || e->kind != ERR_USAGE)
		return f;
	if (q->operator)
		return bpf_compiler_try(BPF_COMPILER_NAMES, CLASS_NAMES, q,
					link_type, deadline_ns, e);
	err_hint(e, "pcap-filter(7) describes filters. Names of hosts are "
		    "looked up for operators only: give addresses.");
	return NULL;
}

/* Once for all who ask for the same. */
static struct bpf_filter *bpf_compiler_once(const struct filter_request *q,
					    uint32_t *link_type,
					    int64_t deadline_ns, struct err *e)
{
	const struct filter_key k = {q->text, q->link_type, q->snaplen,
				     q->operator};
	struct timespec pause = {0, 10 * 1000000};
	enum filter_found found;
	struct bpf_filter *f = NULL;

	while ((found = bpf_cache_find(&k, monotonic_ns(), &f, e)) ==
	       FILTER_COMPILING) {
		if (!bpf_compiler_may_wait(q, deadline_ns, e))
			return NULL;
		nanosleep(&pause, NULL);
	}
	*link_type = q->link_type;
	if (found == FILTER_MISSING) {
		f = bpf_compiler_compile_beside(q, link_type, deadline_ns, e);
		bpf_cache_put(&k, monotonic_ns(), f, e);
	}
	/* max-filter-program may be another since. */
	if (f && !bpf_filter_fits(q->text, f, e)) {
		bpf_filter_free(f);
		return NULL;
	}
	return f;
}

struct bpf_filter *bpf_compiler_run(const struct filter_request *q,
				    uint32_t *link_type, struct err *e)
{
	int64_t deadline_ns = monotonic_ns() + bpf_compiler_time_ns(q->text);

	if (!bpf_filter_fits(q->text, NULL, e))
		return NULL;
	if (!bpf_compiler_runs())
		return bpf_compiler_in_place(q, link_type, e);
	/* An interface takes a socket to be opened, and its program stays with
	 * the capture. */
	if (q->interface)
		return bpf_compiler_try(BPF_COMPILER_NAMES, CLASS_INTERFACES, q,
					link_type, deadline_ns, e);
	return bpf_compiler_once(q, link_type, deadline_ns, e);
}
