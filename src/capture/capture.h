/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture: where packets come from. The contract of this folder.
 *
 * What: live interfaces and savefiles, both into a capture tail. A live capture
 * is a thread that moves packets from the kernel's ring into the capture tail's
 * open block with one copy, publishes when a batch ends, and seals a block when
 * it is full or block_age_ns old, by the clock.
 * Threads: capture_start makes one; capture_stop ends it and may be called from
 * any other. capture_status from any thread.
 * Ownership: a capture holds a reference to its capture tail. Strings are
 * copied.
 * Limits: never waits for the capture tail: without room it leaves packets in
 * the ring, whose drops the kernel counts. A packet that does not fit into a
 * block is counted in dropped_memory.
 */
#ifndef PCAPD_CAPTURE_CAPTURE_H
#define PCAPD_CAPTURE_CAPTURE_H

#include "base/err.h"
#include "capture/own_connections.h"
#include "packet/bpf_filter.h"
#include "packet/capture_tail.h"

#define CAPTURE_INTERFACE_MAX 64
#define CAPTURE_SNAPLEN_MAX 262144
#define CAPTURE_BUFFER_MIN (1u << 20)
#define CAPTURE_BUFFER_MAX (2047ull << 20)
#define CAPTURE_BUFFER_DEFAULT (32ull << 20)
#define CAPTURE_RINGS_MAX 16

struct capture_options {
	char interface[CAPTURE_INTERFACE_MAX]; /* "any": every one, SLL2 */
	char filter[BPF_FILTER_TEXT_MAX + 1];
	uint32_t snaplen; /* 1 to CAPTURE_SNAPLEN_MAX */
	bool promiscuous;
	uint64_t buffer_bytes; /* of all rings together, when there is traffic
				*/
	int64_t quiet_ns; /* without traffic for so long rings are small, as at
			   * first; 0: as long as is useful, -1: never */
	uint32_t rings;	  /* 0: one; fewer where they cannot be had */
	int64_t block_age_ns;
	/* The filter, compiled for this link type. Otherwise it is compiled
	 * when the interface is there; -1: always. Not looked at after
	 * capture_start. */
	const void *program;
	size_t program_bytes;
	int64_t program_link_type;
	bool libpcap; /* takes the packets also where the ring could be read */
	struct own_connections
		*exclude; /* NULL: nothing; outlives the capture */
};

struct capture_status {
	bool waiting; /* the interface is not there (yet, or any more) */
	char reason[256];
	/* Of the newest source. CLOCK_REALTIME: no packet of it came before; 0
	 * before the first one. */
	int64_t opened_ns;
	uint32_t link_type; /* of the newest packets; 0 before the first open */
	uint64_t received;  /* packets put into blocks */
	uint64_t dropped_kernel;
	uint64_t dropped_interface;
	uint64_t dropped_memory;
	unsigned excluded; /* connections that its filter leaves out */
	uint64_t left_out; /* packets of such connections, which it would have
			    * taken */
	int64_t newest_ns;
	/* CLOCK_REALTIME: what came before it is published or was counted as
	 * lost. */
	int64_t complete_ns;
	int64_t stopped_ns; /* the instant of the stop; 0: it runs */
	int64_t looped_ns;  /* CLOCK_MONOTONIC: the thread went round then; at
			     * least every CAPTURE_ROUND_NS */
};
#define CAPTURE_ROUND_NS (2 * NS_PER_S)

enum capture_loss {
	CAPTURE_LOST_KERNEL,
	CAPTURE_LOST_INTERFACE,
	CAPTURE_LOST_MEMORY,
	CAPTURE_LOSSES
};

/* The interface was not there, or down. CLOCK_REALTIME. */
struct capture_outage {
	int64_t from_ns, to_ns; /* to_ns INT64_MAX: it goes on */
	char reason[120];
};
#define CAPTURE_OUTAGES 8

/*
 * Opens the interface and closes it again: tells its link type and gives the
 * compiled filter (bpf_filter_free it). It waits for that, with no lock held;
 * go_on as of struct filter_request. ERR_NOT_FOUND: no such interface;
 * ERR_USAGE: the filter; ERR_PERMISSION.
 */
bool capture_probe(const struct capture_options *o, bool (*go_on)(void *ctx),
		   void *ctx, uint32_t *link_type, struct bpf_filter **filter,
		   struct err *e);
/* The same of an interface that is not there: the filter is compiled as for an
 * Ethernet one, and has to be compiled again when the interface comes. */
bool capture_probe_absent(const struct capture_options *o,
			  bool (*go_on)(void *ctx), void *ctx,
			  struct bpf_filter **filter, struct err *e);
/* For bpf_compiler_start. */
struct bpf_filter *capture_compile(const char *interface, const char *text,
				   uint32_t snaplen, uint32_t *link_type,
				   struct err *e);

/* The first open happens before it returns, unless the filter has to be
 * compiled, which takes its time; an interface that is missing or down
 * (ERR_NOT_FOUND, ERR_STATE would be the error) is waited for, other errors
 * are errors. An interface is its name: one that is renamed is gone,
 * one that gets the name has come. */
struct capture *capture_start(const struct capture_options *o,
			      struct capture_tail *f, struct err *e);
/* A stop is an instant, stopped_ns of the last status *s: what the kernel had
 * accepted before it is taken or counted as lost, nothing after it is taken.
 * The open block is sealed. */
void capture_stop(struct capture *c, struct capture_status *s);
/*
 * Returns when every packet that the kernel had accepted at the call is
 * published, and what it had dropped is counted: the kernel keeps the newest
 * ones for some 20 ms before it hands them over, and what may become a
 * connection of pcapd's own waits as long. At the latest after a quarter of a
 * second.
 */
void capture_catch_up(struct capture *c);
/* capture_start gives a reference and capture_stop takes one; whoever may be
 * overtaken by a capture_stop holds one of their own. */
struct capture *capture_ref(struct capture *c);
void capture_unref(struct capture *c);
/* The filter of one that was stopped and the link type that it is for; NULL:
 * there is none. */
const struct bpf_filter *capture_filter(const struct capture *c,
					int64_t *link_type);
void capture_status(struct capture *c, struct capture_status *s);
/* The set of connections to exclude was changed. */
void capture_exclude(struct capture *c);
/* What was lost since the last call. capture_tail_lost was called for it before
 * anything newer was published. */
void capture_take_losses(struct capture *c, struct loss out[CAPTURE_LOSSES]);
/* Packets that were left out of the connection at that place of the set. */
uint64_t capture_left_out(struct capture *c, unsigned place, bool forget);
/* Outages since the last call, oldest first. One that goes on is given once
 * so, and again with its end. How many. */
unsigned capture_take_outages(struct capture *c,
			      struct capture_outage out[CAPTURE_OUTAGES]);

/*
 * Which names reach libpcap, whose own kinds of devices are opened by what
 * stands in their names (dbus:// runs a program): "any", interfaces of the
 * kernel, and with other_devices these kinds: usbmon, nflog, nfqueue,
 * bluetooth.
 */
void interface_configure(bool other_devices); /* before there are threads */
/* ERR_NOT_FOUND: there is no such interface; ERR_PERMISSION: such devices are
 * not allowed. */
bool interface_check(const char *name, struct err *e);

/*
 * Of a name that interface_check knows no interface of: whether one may come
 * that has it. Names that people give in place of an interface are no such:
 * words of pcap-filter(7), numbers, addresses, what a kernel's interface cannot
 * be called, or hardly is. ERR_NOT_FOUND
 */
bool interface_may_come(const char *name, struct err *e);

/* One interface that can be captured on. */
struct interface {
	char name[CAPTURE_INTERFACE_MAX];
	char description[128];
	char addresses[16][64]; /* numeric; what is over 16 is left out */
	unsigned n_addresses;
	bool up, running, loopback;
};
/* An array to free(), "any" last. NULL on error. */
struct interface *interfaces_list(size_t *n, struct err *e);

/*
 * A savefile that is read from a stream: what libpcap reads (pcap in
 * microseconds or nanoseconds of either byte order), and pcapng, also when it
 * is compressed with zstd or gzip. read: as read(2) on a blocking file, -1 ends
 * the import as failed with an error of the reader's own in *e.
 */
struct savefile;
typedef int64_t (*savefile_read)(void *ctx, void *to, size_t n, struct err *e);

/* Reads the file's header. name: for messages. ERR_USAGE: it is no savefile. */
struct savefile *savefile_open(savefile_read read, void *ctx, const char *name,
			       struct err *e);
/* As in a savefile's header, with the bits above it that say how many bytes of
 * a frame check sequence packets end with: LINK_TYPE_OF gives the number. */
uint32_t savefile_link_type(const struct savefile *s);
uint32_t savefile_snaplen(const struct savefile *s);

/* Packets of a file that did not come in, or are not to be trusted. */
enum savefile_loss_kind {
	SAVEFILE_TOO_LARGE, /* no block takes them */
	SAVEFILE_TIME,	    /* before 1970, or after 2106 */
	SAVEFILE_LINK_TYPE, /* not that of the first interface */
	SAVEFILE_DOUBTFUL,  /* they came in, but a checksum is wrong */
	SAVEFILE_CUT,	    /* what is behind the place where it broke */
	SAVEFILE_LOSSES
};
struct savefile_loss {
	uint64_t packets;	/* 0: not known */
	int64_t from_ns, to_ns; /* to_ns INT64_MAX: not known */
	char why[100];		/* "": there was none of this kind */
};
struct savefile_result {
	uint64_t packets, raw_bytes; /* that went in */
	int64_t min_ns, max_ns, last_ns;
	uint64_t untimed; /* the file does not say when they came: 1970 */
	/* Packets that libpcap's readers refuse in a savefile of this link
	 * type, as they are larger than its limit. */
	uint64_t over_limit;
	uint32_t limit;
	struct savefile_loss losses[SAVEFILE_LOSSES];
};
/* Whether so many packets went in, and the last of them had that time. */
struct savefile_mark {
	uint64_t packets;
	int64_t ns;
	bool met;
};
/* Looks for n of them; they outlive savefile_copy. */
void savefile_look_for(struct savefile *s, struct savefile_mark *marks,
		       size_t n);
/*
 * All packets into f, waiting for room; the last block is sealed. What is there
 * is published before more is waited for, and a block that is block_age_ns old
 * is sealed then. *r says what went in and what did not, also on error.
 * ERR_INCOMPLETE: there are losses, and everything else went in.
 */
bool savefile_copy(struct savefile *s, struct capture_tail *f,
		   int64_t block_age_ns, struct savefile_result *r,
		   struct err *e);
void savefile_close(struct savefile *s); /* NULL is fine */

#endif
