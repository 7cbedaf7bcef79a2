/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * captures: the captures that this daemon knows and what can be done to them.
 *
 * What: joins a capture's row (store), its capture tail, its source (capture/)
 * and its writer. This is what the API offers, in C; server/ translates.
 * Threads: every function from any thread. Changes are made one after the
 * other; they wait for the catalog. Nothing here runs on a packet's path.
 * Ownership: stated at each function. Capture tails are handed out with a
 * reference.
 * Limits: config's max_captures; ALIASES_MAX aliases a capture.
 */
#ifndef PCAPD_CONTROL_CAPTURES_H
#define PCAPD_CONTROL_CAPTURES_H

#include "capture/capture.h"
#include "control/config.h"
#include "store/ledger.h"
#include "store/store.h"

#define ALIASES_MAX 64

struct control;

enum capture_state {
	CAPTURE_STOPPED = 1,
	CAPTURE_RUNNING,
	CAPTURE_WAITING,
	CAPTURE_IMPORTING,
};

/* A copy of everything there is to say about a capture; message Capture has
 * the same fields. */
struct capture_view {
	struct capture_row row; /* its link_type is the newest known */
	enum capture_state state;
	struct store_totals totals; /* with what is in memory */
	struct capture_status live;
	struct writer_status writer;
};
void capture_view_done(struct capture_view *v);

/* Opens the spool and starts what was running. */
struct control *control_open(const struct config *c, struct err *e);
/* New limits; paths stay as they were, and so do bounds that would remove
 * something at once: control_config has what is in force. */
void control_configure(struct control *ctl, const struct config *c);
/* What is to come takes no longer than it has to: control_stop is next. */
void control_end_waits(struct control *ctl);
/* Stops and seals everything, ends every capture tail; what was running stays
 * wanted and resumes at the next control_open. Tails handed out stay valid.
 * When it returns, what was received is written, and what was lost is told: a
 * process that ends then has left nothing to do but work for the next start. */
void control_stop(struct control *ctl);
/* control_stop has come so far that what was received is written. */
bool control_is_written(struct control *ctl);
void control_close(struct control *ctl);

struct init_options {
	struct capture_options capture; /* block_age_ns is set here */
	const char *alias;		/* NULL or "": none */
	bool start;
	uint64_t keep_bytes; /* of a new capture; 0: no bound */
	int64_t keep_age_ns;
	const char *people; /* of a new capture; "": everybody */
	/* Whether who asks may see one that is there; NULL: yes. One that
	 * they may not see is as if it was not there. */
	bool (*sees)(void *ctx, const char *people);
	/* Who asks still waits; NULL: yes. */
	bool (*go_on)(void *ctx);
	void *ctx;
};
#define INIT_NOTE_MAX 160
/* note: what people should know who asked for it, or "".
 * *created false: that interface and filter were there, the alias was added if
 * it was new (*alias_added). With start an existing one that runs is fine. */
bool control_init(struct control *ctl, const struct init_options *o,
		  struct capture_view *v, bool *created, bool *alias_added,
		  char note[INIT_NOTE_MAX], struct err *e);
/* name: id or alias. ERR_STATE when it runs already, or does not. */
bool control_start(struct control *ctl, const char *name,
		   struct capture_view *v, struct err *e);
bool control_stop_one(struct control *ctl, const char *name,
		      struct capture_view *v, struct err *e);
/* v: as it was before. */
bool control_delete(struct control *ctl, const char *name,
		    struct capture_view *v, struct err *e);
bool control_alias_add(struct control *ctl, const char *name, const char *alias,
		       struct capture_view *v, struct err *e);
bool control_alias_remove(struct control *ctl, const char *alias,
			  struct capture_view *v, struct err *e);
/* name NULL or "": all of them, by id. An array; each view is done by the
 * caller, then the array freed. */
bool control_list(struct control *ctl, const char *name,
		  struct capture_view **v, size_t *n, struct err *e);

/* What control_set_keep with these would remove at once, or control_release of
 * without_hold, unless that is 0. */
bool control_would_remove(struct control *ctl, const char *name,
			  const uint64_t *keep_bytes,
			  const int64_t *keep_age_ns, uint64_t without_hold,
			  struct capture_view *v, struct store_removal *r,
			  struct err *e);

/* Before control_find of a reader who wants everything up to now: waits until
 * what the kernel has accepted of this capture is in its capture tail. */
void control_catch_up(struct control *ctl, const char *name);
/* The alias that was perhaps meant, of those that sees says yes to; or "". */
void control_nearest(struct control *ctl, const char *name,
		     bool (*sees)(void *ctx, const char *people), void *ctx,
		     char out[ALIAS_MAX + 1]);
/* For a reader: the view and a reference to the capture tail. */
bool control_find(struct control *ctl, const char *name, struct capture_view *v,
		  struct capture_tail **f, struct err *e);
struct store *control_store(struct control *ctl);

/*
 * What there is of [since_ns, until_ns), and what is missing, up to now; 0: as
 * far as there is anything. coverage.rows to free(), v done by the caller.
 */
bool control_coverage(struct control *ctl, const char *name, int64_t since_ns,
		      int64_t until_ns, struct coverage *c,
		      struct capture_view *v, struct err *e);

/* NULL leaves a bound as it is. */
bool control_set_keep(struct control *ctl, const char *name,
		      const uint64_t *keep_bytes, const int64_t *keep_age_ns,
		      struct capture_view *v, struct err *e);
/* Who may see a capture: names with blanks between. */
bool control_set_people(struct control *ctl, const char *name,
			const char *people, struct capture_view *v,
			struct err *e);
/* Which one it is, and who may see it. ERR_NOT_FOUND */
bool control_people(struct control *ctl, const char *name, uint64_t *id,
		    char people[PEOPLE_MAX + 1], struct err *e);
bool control_hold(struct control *ctl, const char *name, struct store_hold *h,
		  struct capture_view *v, struct err *e);
bool control_release(struct control *ctl, const char *name, uint64_t hold,
		     struct capture_view *v, struct err *e);
/* remove: only mark->name is looked at. */
bool control_mark(struct control *ctl, const char *name,
		  const struct store_mark *mark, bool remove,
		  struct capture_view *v, struct err *e);

/*
 * A connection that carries packets to another machine: captures leave it out
 * from now on, until OWN_CONNECTIONS_LINGER_NS after control_include of the
 * number. 0: there is no room. Neither waits for anything.
 */
uint64_t control_exclude(struct control *ctl, const struct flow *f);
/* The same for a socket that listens: what comes to it is left out from the
 * first packet on. ERR_LIMIT: OWN_CONNECTIONS_LISTENERS_MAX are there. */
bool control_listen(struct control *ctl, int fd, struct err *e);
void control_unlisten(struct control *ctl); /* before they are closed */
/* accept4 of one of them; *number is control_exclude's, of one that is not
 * known yet: known ones come first where there is no room for all. */
int control_accept(struct control *ctl, int fd, struct sockaddr_storage *from,
		   uint64_t *number);
void control_known(struct control *ctl, uint64_t number);
void control_include(struct control *ctl, uint64_t number);
/* Of which packets were left out of that capture, of those that are there at
 * the moment. How many. */
unsigned control_excluded(struct control *ctl, uint64_t id,
			  struct flow out[OWN_CONNECTIONS_MAX]);

/* Captures have made progress within so long: for a watchdog. */
bool control_is_well(struct control *ctl, int64_t within_ns);
/* As it is configured now. */
struct config control_config(struct control *ctl);

/*
 * Imports a savefile into the capture of that alias, which is made after the
 * file's header was read and understood, and removed again if nothing came in
 * and the file was not whole. Waits until everything is stored. What did not
 * come in is in the ledger, also when it fails.
 */
#define IMPORT_NOTES 3
struct import_done {
	bool kept; /* the view is there, and done by the caller */
	struct capture_view view;
	bool created;
	uint64_t packets, raw_bytes;
	unsigned n_notes; /* for people */
	char notes[IMPORT_NOTES][256];
};
/* On success, and with ERR_INCOMPLETE if anything came in, *d is kept. */
bool control_import(struct control *ctl, const char *alias, const char *name,
		    savefile_read read, void *ctx, struct import_done *d,
		    struct err *e);

#endif
