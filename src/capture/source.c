/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Live packets, from the kernel's ring where that can be read without libpcap.
 * Otherwise libpcap opens the interface, and says what is wrong with it.
 * Guarantees nanoseconds whatever the device has, errors of our kinds with the
 * interface's name, and drop counts that do not wrap. Leaves out retrying and
 * what happens to the packets.
 */
#include "capture/bpf_exclude.h"
#include "capture/ring_group.h"
#include "packet/bpf_compiler.h"

#include <stdio.h>
#include <stdlib.h>

#define LINK_TYPE_ETHERNET 1
/* What libpcap counts is asked for so often while packets come; it reads a file
 * for it. */
#define STATISTICS_NS (20 * NS_PER_S / 1000)
/* A clock that is a little off is being adjusted. */
#define CLOCK_STEP_NS (NS_PER_S / 4)

struct source {
	struct ring_group *ring; /* or NULL; then */
	pcap_t *pcap;
	int fd;
	uint32_t link_type, snaplen;
	unsigned fraction_ns; /* of one unit in tv_usec */
	int64_t opened_ns, listening_ns;
	struct pcap_stat counted; /* as of the last source_add_drops */
	struct reading read;	  /* when that was */
	unsigned taken;		  /* wraps as ps_recv does */
	source_packet packet;	  /* of the source_take under way */
	void *ctx;
	/* The filter without what is excluded; from the first time on. */
	struct bpf_insn *own;
	unsigned n_own;
};

static bool source_options_check(const struct capture_options *o, struct err *e)
{
	if (o->snaplen < 1 || o->snaplen > CAPTURE_SNAPLEN_MAX)
		return err_set(e, ERR_USAGE, "snaplen %u is not in 1 to %u",
			       o->snaplen, CAPTURE_SNAPLEN_MAX);
	if (o->rings > CAPTURE_RINGS_MAX)
		return err_set(e, ERR_USAGE, "%u rings: expected 1 to %d",
			       o->rings, CAPTURE_RINGS_MAX);
	if (o->buffer_bytes < CAPTURE_BUFFER_MIN ||
	    o->buffer_bytes > CAPTURE_BUFFER_MAX)
		return err_set(e, ERR_USAGE,
			       "a buffer of %llu bytes is not in 1 to 2047 MiB",
			       (unsigned long long)o->buffer_bytes);
	return true;
}

/* What pcap_activate says, in our words. */
static bool activation_error(pcap_t *p, int code, const char *interface,
			     struct err *e)
{
	const char *said = pcap_geterr(p);

	switch (code) {
	case PCAP_ERROR_NO_SUCH_DEVICE:
		err_set(e, ERR_NOT_FOUND, "open %s: no such interface",
			interface);
		return err_hint(e, "List interfaces with 'pcap interfaces'.");
	case PCAP_ERROR_IFACE_NOT_UP:
		err_set(e, ERR_STATE, "open %s: the interface is down",
			interface);
		return err_hint(e, "Bring it up with 'ip link set %s up'.",
				interface);
	case PCAP_ERROR_PERM_DENIED:
	case PCAP_ERROR_PROMISC_PERM_DENIED:
		err_set(e, ERR_PERMISSION, "open %s: %s", interface,
			*said ? said : pcap_statustostr(code));
		return err_hint(e, "pcapd needs CAP_NET_RAW: run it as root "
				   "or give it that capability.");
	default:
		return err_set(e, ERR_FAILED, "open %s: %s", interface,
			       *said ? said : pcap_statustostr(code));
	}
}

static bool source_activate(pcap_t *p, const struct capture_options *o,
			    uint64_t buffer_bytes, struct err *e)
{
	pcap_set_snaplen(p, (int)o->snaplen);
	pcap_set_promisc(p, o->promiscuous);
	pcap_set_timeout(p, SOURCE_TIMEOUT_MS);
	pcap_set_buffer_size(p, (int)buffer_bytes);
	/* Refused by devices that have only microseconds. */
	pcap_set_tstamp_precision(p, PCAP_TSTAMP_PRECISION_NANO);
	int code = pcap_activate(p);
	/* Above 0 are warnings, such as no promiscuous mode on "any". */
	if (code < 0)
		return activation_error(p, code, o->interface, e);
	/* SLL2 keeps which interface it was. */
	if (strcmp(o->interface, "any") == 0 &&
	    pcap_set_datalink(p, DLT_LINUX_SLL2) != 0)
		return err_set(e, ERR_FAILED, "open any: %s", pcap_geterr(p));
	char why[PCAP_ERRBUF_SIZE];
	if (pcap_setnonblock(p, 1, why) != 0)
		return err_set(e, ERR_FAILED, "open %s: %s", o->interface, why);
	return true;
}

static pcap_t *source_create(const char *interface, struct err *e)
{
	char why[PCAP_ERRBUF_SIZE];

	if (!interface_check(interface, e))
		return NULL;
	pcap_t *p = pcap_create(interface, why);
	if (!p)
		err_set(e, ERR_FAILED, "open %s: %s", interface, why);
	return p;
}

struct bpf_filter *capture_compile(const char *interface, const char *text,
				   uint32_t snaplen, uint32_t *link_type,
				   struct err *e)
{
	struct capture_options o = {.snaplen = snaplen};
	char why[PCAP_ERRBUF_SIZE];
	struct bpf_filter *f = NULL;
	bpf_u_int32 net, mask;
	pcap_t *p = source_create(interface, e);

	snprintf(o.interface, sizeof(o.interface), "%s", interface);
	if (p && source_activate(p, &o, CAPTURE_BUFFER_MIN, e)) {
		if (pcap_lookupnet(interface, &net, &mask, why) != 0)
			mask = PCAP_NETMASK_UNKNOWN;
		*link_type = link_type_of_dlt(pcap_datalink(p));
		f = bpf_filter_compile_live(p, text, mask, e);
	}
	if (p)
		pcap_close(p);
	return f;
}

static struct bpf_filter *source_filter(const struct capture_options *o,
					bool absent, bool (*go_on)(void *ctx),
					void *ctx, uint32_t *link_type,
					struct err *e)
{
	struct filter_request q = {.text = o->filter,
				   .snaplen = o->snaplen,
				   .interface = o->interface,
				   .absent = absent,
				   .operator= true,
				   .go_on = go_on,
				   .ctx = ctx};

	if (!source_options_check(o, e))
		return NULL;
	if (bpf_compiler_runs())
		return bpf_compiler_run(&q, link_type, e);
	return absent ? bpf_filter_compile_absent(o->filter, o->snaplen, e)
		      : capture_compile(o->interface, o->filter, o->snaplen,
					link_type, e);
}

bool capture_probe(const struct capture_options *o, bool (*go_on)(void *ctx),
		   void *ctx, uint32_t *link_type, struct bpf_filter **filter,
		   struct err *e)
{
	*filter = source_filter(o, false, go_on, ctx, link_type, e);
	return *filter;
}

bool capture_probe_absent(const struct capture_options *o,
			  bool (*go_on)(void *ctx), void *ctx,
			  struct bpf_filter **filter, struct err *e)
{
	uint32_t ignored;

	*filter = source_filter(o, true, go_on, ctx, &ignored, e);
	return *filter;
}

static bool open_pcap(struct source *s, const struct capture_options *o,
		      uint64_t buffer_bytes, const struct bpf_filter *filter,
		      int64_t filter_type, bool *other_type, struct err *e)
{
	s->pcap = source_create(o->interface, e);
	if (!s->pcap)
		return false;
	s->opened_ns = realtime_ns();
	s->read = (struct reading){s->opened_ns, monotonic_ns()};
	if (!source_activate(s->pcap, o, buffer_bytes, e))
		return false;
	s->link_type = link_type_of_dlt(pcap_datalink(s->pcap));
	*other_type = s->link_type != filter_type;
	if (*other_type)
		return err_set(e, ERR_STATE,
			       "open %s: the filter is not compiled for its "
			       "link type yet",
			       o->interface);
	/* What libpcap attaches is a copy that it may change. */
	if (pcap_setfilter(s->pcap, (struct bpf_program *)&filter->program) !=
	    0)
		return err_set(e, ERR_FAILED, "filter: %s",
			       pcap_geterr(s->pcap));
	s->fd = pcap_get_selectable_fd(s->pcap);
	s->snaplen = (uint32_t)pcap_snapshot(s->pcap);
	s->fraction_ns =
		pcap_get_tstamp_precision(s->pcap) == PCAP_TSTAMP_PRECISION_NANO
			? 1
			: 1000;
	return true;
}

static bool open_best(struct source *s, const struct capture_options *o,
		      const struct bpf_filter *filter, int64_t filter_type,
		      bool *other_type, struct err *e)
{
	if (filter_type == LINK_TYPE_ETHERNET && !o->libpcap &&
	    strcmp(o->interface, "any") != 0)
		s->ring = ring_group_open(o, filter, &s->opened_ns);
	if (!s->ring)
		return open_pcap(s, o,
				 filter ? o->buffer_bytes : CAPTURE_BUFFER_MIN,
				 filter, filter_type, other_type, e);
	s->listening_ns = realtime_ns();
	s->link_type = LINK_TYPE_ETHERNET;
	s->snaplen = o->snaplen;
	return true;
}

struct source *source_open(const struct capture_options *o,
			   const struct bpf_filter *filter, int64_t filter_type,
			   bool *other_type, struct err *e)
{
	struct source *s;

	*other_type = false;
	if (!source_options_check(o, e))
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s) {
		err_errno(e, "open %s", o->interface);
		return NULL;
	}
	if (!open_best(s, o, filter, filter_type, other_type, e)) {
		source_close(s);
		return NULL;
	}
	if (!s->listening_ns)
		s->listening_ns = realtime_ns();
	return s;
}

void source_close(struct source *s)
{
	if (!s)
		return;
	ring_group_close(s->ring);
	if (s->pcap)
		pcap_close(s->pcap);
	free(s->own);
	free(s);
}

uint32_t source_link_type(const struct source *s)
{
	return s->link_type;
}

uint32_t source_snaplen(const struct source *s)
{
	return s->snaplen;
}

int64_t source_opened_ns(const struct source *s)
{
	return s->opened_ns;
}

int64_t source_listening_ns(const struct source *s)
{
	return s->listening_ns;
}

int source_fd(const struct source *s)
{
	return s->ring ? ring_group_fd(s->ring) : s->fd;
}

void source_resize(struct source *s)
{
	if (s->ring)
		ring_group_resize(s->ring);
}

static void source_deliver(u_char *user, const struct pcap_pkthdr *from,
			   const u_char *body)
{
	struct source *s = (struct source *)user;
	struct packet_head h = {
		.sec = (uint32_t)from->ts.tv_sec,
		.nsec = (uint32_t)from->ts.tv_usec * s->fraction_ns,
		.caplen = from->caplen,
		.len = from->len,
	};

	s->taken++;
	if (!s->packet(s->ctx, &h, body))
		pcap_breakloop(s->pcap);
}

int source_take(struct source *s, int max, source_packet packet, void *ctx,
		struct err *e)
{
	unsigned before = s->taken;

	if (s->ring)
		return ring_group_take(s->ring, max, packet, ctx, e);
	s->packet = packet;
	s->ctx = ctx;
	int n = pcap_dispatch(s->pcap, max, source_deliver, (u_char *)s);
	if (n >= 0 || n == PCAP_ERROR_BREAK)
		return (int)(s->taken - before);
	err_set(e, ERR_FAILED, "%s", pcap_geterr(s->pcap));
	return -1;
}

/* --- leaving connections out --- */

static int socket_of(const struct source *s, unsigned i)
{
	if (s->ring)
		return ring_group_socket(s->ring, i);
	return i == 0 ? pcap_fileno(s->pcap) : -1;
}

/* As the kernel sees the packets, before libpcap makes a header. */
static enum layout layout_of(const struct source *s)
{
	enum layout stored = layout_of_link_type(s->link_type);

	return stored == LAYOUT_SLL2 ? LAYOUT_COOKED : stored;
}

static bool read_own(struct source *s)
{
	if (s->own)
		return true;
	struct bpf_insn *own = calloc(BPF_FILTER_INSNS_MAX, sizeof(*own));
	int n = own ? bpf_exclude_read(socket_of(s, 0), own) : -1;
	if (n < 0) {
		free(own);
		return false;
	}
	s->own = own;
	s->n_own = (unsigned)n;
	return true;
}

static bool attach_all(struct source *s, const struct bpf_insn *program,
		       unsigned n)
{
	bool ok = true;

	for (unsigned i = 0; socket_of(s, i) >= 0; i++)
		ok = bpf_exclude_attach(socket_of(s, i), program, n) && ok;
	return ok;
}

/* As many as there is room for. The length; 0: there is none for even one. */
static unsigned build_most(struct source *s, const struct flow *flows,
			   unsigned *n, struct bpf_insn *program)
{
	unsigned length;

	while (!(length = bpf_exclude_build(flows, *n, layout_of(s), s->own,
					    s->n_own, program)) &&
	       *n > 0)
		*n -= *n / 16 + 1;
	return length;
}

unsigned source_exclude(struct source *s, const struct flow *flows, unsigned n)
{
	struct bpf_insn *program;

	if (n == 0 && !s->own)
		return 0;
	if (layout_of(s) == LAYOUT_OTHER || !read_own(s))
		return 0;
	program = calloc(BPF_FILTER_INSNS_MAX, sizeof(*program));
	if (!program)
		return 0;
	unsigned length = build_most(s, flows, &n, program);
	if (!attach_all(s, program, length)) {
		n = 0;
		length = bpf_exclude_build(NULL, 0, layout_of(s), s->own,
					   s->n_own, program);
		attach_all(s, program, length);
	}
	free(program);
	return n;
}

void reading_add(struct reading *r, struct loss *l, uint64_t packets,
		 int64_t clean_ns)
{
	struct reading now = {realtime_ns(), monotonic_ns()};
	int64_t passed = now.monotonic_ns - r->monotonic_ns;
	int64_t from = r->real_ns, to = now.real_ns;
	int64_t step = to - from - passed;

	if (step >= CLOCK_STEP_NS || step <= -CLOCK_STEP_NS) {
		/* By the clock of before, and by that of now. */
		from = from < to - passed ? from : to - passed;
		to = to > r->real_ns + passed ? to : r->real_ns + passed;
	} else if (clean_ns > from) {
		from = clean_ns < to ? clean_ns : to;
	}
	loss_add(l, packets, from, to);
	*r = now;
}

void source_add_known(struct source *s, struct source_drops *d)
{
	if (s->ring)
		ring_group_add_known(s->ring, d);
	else if (realtime_ns() - s->read.real_ns > STATISTICS_NS)
		source_add_drops(s, d);
}

uint64_t source_left(struct source *s)
{
	return s->ring ? ring_group_left(s->ring) : 0;
}

void source_close_intake(struct source *s)
{
	const struct bpf_insn none = BPF_STMT(BPF_RET | BPF_K, 0);

	attach_all(s, &none, 1);
}

bool source_was_down(struct source *s)
{
	return s->ring && ring_group_was_down(s->ring);
}

void source_add_drops(struct source *s, struct source_drops *d)
{
	struct pcap_stat now;

	if (s->ring)
		ring_group_add_drops(s->ring, d);
	if (s->ring || pcap_stats(s->pcap, &now) != 0)
		return;
	/* 32 bits that wrap: differences are right, sums are not. */
	struct reading read = s->read;
	reading_add(&s->read, &d->kernel,
		    (unsigned)(now.ps_drop - s->counted.ps_drop), 0);
	reading_add(&read, &d->interface,
		    (unsigned)(now.ps_ifdrop - s->counted.ps_ifdrop), 0);
	s->counted = now;
}

bool source_drained(struct source *s)
{
	struct pcap_stat now;

	if (s->ring)
		return ring_group_drained(s->ring);
	/* libpcap swallows some packets that the kernel counts (copies on
	 * loopback, what came before the filter); then this never holds. */
	return pcap_stats(s->pcap, &now) == 0 &&
	       (unsigned)(now.ps_recv - now.ps_drop) == s->taken;
}

bool source_is_filling(const struct source *s)
{
	return s->ring && ring_group_is_filling(s->ring);
}
