/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stream of packets into a savefile. Guarantees that the output ends with a
 * whole packet, that nothing is written over a file unasked, and that what is
 * missing is said and becomes the exit code. This thread receives, others
 * decode and write (pipeline.c), one waits for signals (canceller.c).
 */
#include "cli/canceller.h"
#include "cli/cli.h"
#include "cli/pipeline.h"
#include "cli/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)
#define HEAP_KEPT (32 << 20)
/* For the counts at the end; a daemon that hangs does not keep us. */
#define PATIENCE_MS 1000

struct stream_run {
	const struct stream *s;
	struct client *client;
	int out; /* -1: made when the stream has begun */
	struct pipeline pipeline;
	struct canceller watch;
	struct progress progress;
	uint8_t ticket[CLIENT_TICKET_BYTES]; /* for frames beside gRPC */
	bool begun, ended;		     /* a Header came, an End came */
	bool savefile;			     /* nobody watched it */
	uint64_t packets, bytes, lost;
	char lost_why[128];
	/* The capture's counts at the beginning. */
	uint64_t id, received, dropped;
	/* Of the End. */
	uint64_t examined;
	bool complete;
	char note[256];
	Pcap__V1__Coverage *coverage; /* NULL: none was sent */
};

/* --- where to --- */

static bool to_stdout(const struct stream *s)
{
	return !s->file || strcmp(s->file, "-") == 0;
}

/* The name says so. */
static bool is_packed(const struct stream *s)
{
	const char *stream_end = s->file ? strrchr(s->file, '.') : NULL;

	return stream_end && strcasecmp(stream_end, ".zst") == 0;
}

/* What is written is pcap, or that in zstd: a name that says otherwise would
 * mislead whoever finds the file. */
static bool name_fits(const struct stream *s, struct err *e)
{
	static const struct {
		const char *end, *what, *way;
	} others[] = {
		{".pcapng", "pcapng", "editcap - %s"},
		{".pcapng.zst", "pcapng", "editcap - - | zstd > %s"},
		{".ntar", "pcapng", "editcap - %s"},
		{".erf", "ERF", "editcap -F erf - %s"},
		{".snoop", "snoop", "editcap -F snoop - %s"},
		{".gz", "gzip", "gzip > %s"},
		{".xz", "xz", "xz > %s"},
		{".bz2", "bzip2", "bzip2 > %s"},
		{".lz4", "lz4", "lz4 > %s"},
		{".zip", "zip", "zip %s -"},
	};
	size_t n = s->file ? strlen(s->file) : 0;
	char way[256];

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		size_t m = strlen(others[i].end);

		if (n < m || strcasecmp(s->file + n - m, others[i].end) != 0)
			continue;
		snprintf(way, sizeof(way), others[i].way, s->file);
		err_set(e, ERR_USAGE,
			"-w %s: expected a name for pcap, as it is or packed "
			"with zstd, got one for %s",
			s->file, others[i].what);
		return err_hint(e,
				"Name it .pcap or .pcap.zst, or write it with "
				"'-w - | %s'.",
				way);
	}
	return true;
}

/* Devices and pipes are written to, files are not overwritten. */
static bool in_the_way(const struct stream *s, struct err *e)
{
	struct stat st;

	if (s->force || stat(s->file, &st) != 0 || !S_ISREG(st.st_mode))
		return false;
	err_set(e, ERR_EXISTS, "%s is there already", s->file);
	err_hint(e, "--force overwrites it.");
	return true;
}

/* What can be known to be wrong before anything is asked for. */
static bool out_check(struct stream_run *r, struct err *e)
{
	const struct stream *s = r->s;

	if (!name_fits(s, e))
		return false;
	r->out = to_stdout(s) ? STDOUT_FILENO : -1;
	if (!s->file && isatty(STDOUT_FILENO)) {
		err_set(e, ERR_USAGE, "packets are not written to a terminal");
		return err_hint(e, "Add '-w FILE' or '| tcpdump -r -'; '-w -' "
				   "writes them here all the same.");
	}
	if (r->out < 0)
		return !in_the_way(s, e);
	/* A larger pipe takes fewer turns; it is fine if we may not. */
	fcntl(r->out, F_SETPIPE_SZ, PIPE_BYTES);
	return true;
}

static bool out_open(struct stream_run *r, struct err *e)
{
	const char *file = r->s->file;
	int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
	struct stat st;

	if (r->out >= 0)
		return true;
	bool special = stat(file, &st) == 0 && !S_ISREG(st.st_mode);
	if (!r->s->force && !special)
		flags |= O_EXCL;
	r->out = open(file, flags, 0666);
	if (r->out >= 0)
		return true;
	if (errno == EEXIST && in_the_way(r->s, e))
		return false;
	return err_errno(e, "write %s", file);
}

/* A write that came too late to be seen as one, on network file systems. */
static bool out_close(struct stream_run *r, struct err *e)
{
	if (to_stdout(r->s) || r->out < 0 || close(r->out) == 0)
		return true;
	return err_errno(e, "write %s", r->s->file);
}

/* --- events --- */

/* Why nothing may come for long. */
static void say_idle(const struct stream *s, const Pcap__V1__Capture *c)
{
	if (c->state == PCAP__V1__CAPTURE__STATE__WAITING)
		cli_say("%s waits: %s", s->name, c->waiting_for);
	else if (c->state == PCAP__V1__CAPTURE__STATE__STOPPED && c->savefile)
		cli_say("%s holds savefiles: packets come when somebody "
			"imports more",
			s->name);
	else if (c->state == PCAP__V1__CAPTURE__STATE__STOPPED)
		cli_say("%s does not run: packets come when somebody starts it",
			s->name);
}

static bool stream_begin(struct stream_run *r, const Pcap__V1__Header *h,
			 struct err *e)
{
	if (r->begun)
		return true;
	r->progress.blocks = h->blocks;
	if (h->capture) {
		r->id = h->capture->id;
		r->received = h->capture->received;
		r->dropped = h->capture->dropped_kernel;
		r->savefile = h->capture->savefile;
		if (r->s->listen || (r->s->live && !r->savefile))
			say_idle(r->s, h->capture);
	}
	r->begun =
		out_open(r, e) && pipeline_start(&r->pipeline, r->out,
						 is_packed(r->s), r->client, e);
	return r->begun;
}

static void stream_lose(struct stream_run *r, const Pcap__V1__Lost *m)
{
	r->lost += m->packets;
	snprintf(r->lost_why, sizeof(r->lost_why), "%s",
		 m->reason[0] ? m->reason : "no reason given");
	if (r->s->listen)
		return;
	progress_clear(&r->progress);
	if (m->packets)
		cli_say("pcap: %" PRIu64 " packets are missing here: %s",
			m->packets, r->lost_why);
	else
		cli_say("pcap: packets are missing here: %s", r->lost_why);
}

static void stream_end(struct stream_run *r, Pcap__V1__End *m)
{
	/* It outlives the message. */
	r->coverage = m->coverage;
	m->coverage = NULL;
	r->ended = true;
	r->examined = m->examined;
	r->complete = m->complete;
	snprintf(r->note, sizeof(r->note), "%s", m->note);
}

/* Takes the event over. */
static bool stream_take(struct stream_run *r, struct client_event *ev,
			struct err *e)
{
	Pcap__V1__ReplayResponse *m = ev->message;
	bool ok = true;

	if (m && m->event_case == PCAP__V1__REPLAY_RESPONSE__EVENT_LOST)
		stream_lose(r, m->lost);
	if (m && m->event_case == PCAP__V1__REPLAY_RESPONSE__EVENT_END)
		stream_end(r, m->end);
	if (m && m->event_case != PCAP__V1__REPLAY_RESPONSE__EVENT_HEADER) {
		client_event_free(ev);
		return true;
	}
	if (m)
		ok = stream_begin(r, m->header, e);
	else if (!r->begun)
		ok = err_set(e, ERR_FAILED, "pcapd sent packets too early");
	if (!ok) {
		client_event_free(ev);
		return false;
	}
	r->packets += ev->count;
	r->bytes += ev->bytes;
	progress_show(&r->progress, r->packets, r->bytes, ev->blocks_done);
	pipeline_put(&r->pipeline, ev);
	return true;
}

static bool stream_receive(struct stream_run *r, struct err *e)
{
	struct client_event *ev;
	struct err ignored = ERR_INIT;
	int got;

	if (r->s->frames && client_beside(r->client, r->ticket))
		r->s->frames->data_ticket =
			(ProtobufCBinaryData){sizeof(r->ticket), r->ticket};
	client_stream(r->client, r->s->method, r->s->request);
	while ((got = client_next(r->client, &ev, e)) == 1) {
		if (stream_take(r, ev, e))
			continue;
		client_cancel(r->client);
		while (client_next(r->client, &ev, &ignored) == 1)
			client_event_free(ev);
		return false;
	}
	return got == 0;
}

/* --- what came of it --- */

/* What the capture took in and lost meanwhile, if pcapd still tells. */
static void say_kernel(struct stream_run *r)
{
	Pcap__V1__ListRequest ask = PCAP__V1__LIST_REQUEST__INIT;
	struct err ignored = ERR_INIT;
	char id[24];

	snprintf(id, sizeof(id), "%" PRIu64, r->id);
	ask.name = id;
	client_resume(r->client, PATIENCE_MS);
	Pcap__V1__ListResponse *m = (Pcap__V1__ListResponse *)client_call(
		r->client, "List", &ask.base, &ignored);
	if (!m)
		return;
	if (m->n_captures == 1 && m->captures[0]->received >= r->received) {
		cli_say("%" PRIu64 " packets received by filter",
			m->captures[0]->received - r->received);
		if (m->captures[0]->dropped_kernel >= r->dropped)
			cli_say("%" PRIu64 " packets dropped by kernel",
				m->captures[0]->dropped_kernel - r->dropped);
	}
	pcap__v1__list_response__free_unpacked(m, NULL);
}

static void say_counts(struct stream_run *r)
{
	if (!r->s->listen) {
		if (r->ended)
			cli_say("%" PRIu64 " packets replayed, %" PRIu64
				" examined",
				r->pipeline.packets, r->examined);
		else
			cli_say("%" PRIu64 " packets replayed",
				r->pipeline.packets);
		if (r->coverage)
			coverage_say(r->coverage);
		return;
	}
	cli_say("%" PRIu64 " packets captured", r->pipeline.packets);
	say_kernel(r);
	if (r->lost)
		cli_say("%" PRIu64 " packets lost by this listener: %s",
			r->lost, r->lost_why);
}

/* ok: the call ended well. Turns what is known into one error, or none. */
static bool stream_verdict(struct stream_run *r, bool ok,
			   enum canceller_reason why, struct err *e)
{
	const char *name = r->s->name;
	const char *verb = r->s->listen ? "listen" : "replay";

	if (r->pipeline.error == EPIPE || why == CANCELLER_READER_GONE)
		return true;
	if (r->pipeline.error) {
		errno = r->pipeline.error;
		return err_errno(e, "write %s",
				 to_stdout(r->s) ? "stdout" : r->s->file);
	}
	if (!ok && why != CANCELLER_NONE && e->kind == ERR_CANCELLED)
		return true;
	/* The terminal's signal ends ssh, too. */
	if (!ok && why == CANCELLER_SIGNAL && e->kind == ERR_UNREACHABLE)
		return true;
	/* The End has said more of these. */
	bool told = r->ended &&
		    (e->kind == ERR_INCOMPLETE || e->kind == ERR_UNREACHABLE);
	if (!ok && !told) {
		if (r->begun && e->kind == ERR_UNREACHABLE)
			e->kind = ERR_INCOMPLETE;
		return err_wrap(e, "%s %s", verb, name);
	}
	if (!r->ended)
		return err_set(e, ERR_INCOMPLETE,
			       "%s %s: pcapd ended it without an end", verb,
			       name);
	if (r->pipeline.damaged)
		return err_set(e, ERR_INCOMPLETE,
			       "replay %s is not complete: %" PRIu64
			       " packets are in damaged frames",
			       name, r->pipeline.damaged);
	if (r->lost_why[0] && !r->lost && !r->s->listen)
		return err_set(e, ERR_INCOMPLETE,
			       "replay %s is not complete: %s", name,
			       r->lost_why);
	if (r->lost_why[0] && !r->s->listen)
		return err_set(e, ERR_INCOMPLETE,
			       "replay %s is not complete: %" PRIu64
			       " packets are missing",
			       name, r->lost);
	if (!r->complete) {
		err_set(e, ERR_INCOMPLETE, "%s %s is not complete: %s", verb,
			name, r->note[0] ? r->note : "no reason");
		return r->coverage && r->coverage->gaps &&
		       err_hint(e, "'pcap gaps %s' lists what is missing.",
				name);
	}
	if (r->s->strict && !r->coverage)
		return err_set(e, ERR_INCOMPLETE,
			       "replay %s: pcapd does not tell of gaps", name);
	if (r->s->strict && !r->coverage->to_ns && !r->savefile)
		return err_set(e, ERR_INCOMPLETE,
			       "replay %s: nothing of the range was captured",
			       name);
	if (r->s->strict && r->coverage->gaps) {
		err_set(e, ERR_INCOMPLETE,
			"replay %s is not complete: %" PRIu64
			" gaps in the range",
			name, r->coverage->gaps);
		return err_hint(e, "'pcap gaps %s' lists them.", name);
	}
	return ok || err_wrap(e, "%s %s", verb, name);
}

static int stream_finish(struct stream_run *r, bool ok, struct err *e)
{
	struct err closing = ERR_INIT;

	pipeline_stop(&r->pipeline);
	enum canceller_reason why = canceller_done(&r->watch);
	progress_clear(&r->progress);
	ok = stream_verdict(r, ok, why, e);
	if (!out_close(r, &closing) && ok) {
		*e = closing;
		ok = false;
	}
	if (r->begun)
		say_counts(r);
	return ok ? 0 : cli_fail(e);
}

int stream_run(const struct stream *s)
{
	struct stream_run r = {.s = s};
	struct err e = ERR_INIT;
	int code;

	/* What gRPC receives comes and goes by the megabyte: without this the
	 * heap is given back and faulted in again each time. */
	mallopt(M_TRIM_THRESHOLD, HEAP_KEPT);
	mallopt(M_MMAP_THRESHOLD, HEAP_KEPT);
	if (!out_check(&r, &e) || !canceller_init(&r.watch, &e))
		return cli_fail(&e);
	/* What is written here may leave by ssh, and would be captured. */
	if (to_stdout(s))
		target_tells_carrier();
	r.client = cli_connect(&e);
	if (!r.client) {
		canceller_done(&r.watch);
		return cli_fail(&e);
	}
	progress_init(&r.progress, r.out);
	bool ok = canceller_start(&r.watch, r.client, s->for_ns, r.out, &e) &&
		  stream_receive(&r, &e);
	code = stream_finish(&r, ok, &e);
	if (r.coverage)
		pcap__v1__coverage__free_unpacked(r.coverage, NULL);
	client_close(r.client);
	return code;
}
