/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture_entry: a capture inside control/. Nobody else includes this.
 *
 * Threads: `change` is held across a whole change, its I/O included, so that
 * changes come one after the other; nobody who has packets in hand takes it.
 * `lock` is held for a look. An entry is freed with both held, so that either
 * keeps it. CONTRIBUTING.md has the order of all locks.
 */
#ifndef PCAPD_CONTROL_CAPTURE_ENTRY_H
#define PCAPD_CONTROL_CAPTURE_ENTRY_H

#include "capture/interface_names.h"
#include "control/captures.h"
#include "store/ledger_writer.h"
#include "store/loss_accounting.h"

#include <pthread.h>

/* Of one cause, as the log has it: they began, and they ended. */
struct drops {
	struct loss sum; /* no packets: there are none */
	int64_t last_ns; /* CLOCK_MONOTONIC: when it grew */
};

struct capture_entry {
	struct capture_row row;
	struct capture_tail *tail;
	struct capture *source;
	struct writer *writer;
	bool importing;
	bool names_told; /* of the interfaces that there were; of this run */
	struct capture_status past; /* of sources that were stopped */
	uint64_t past_disk;
	struct store_totals past_stored; /* by writers that were stopped */
	/* What the catalog said when it was read last, and what all its
	 * writers had stored by then: for when it cannot be read. */
	struct store_totals known, known_at;
	/* The ledger's, while it runs. */
	struct loss_accounting account;
	int64_t began_ns, ended_ns; /* CLOCK_REALTIME */
	struct drops drops[LEDGER_DISK + 1 - LEDGER_KERNEL];
	/* For a watchdog: the oldest block in memory, since when. */
	uint64_t front_seq;
	int64_t front_ns;
	char resume_error[256]; /* wanted, but could not be started */
};

struct control {
	struct store *store;
	atomic_bool halting; /* control_stop has begun */
	struct ledger_writer *ledger_writer;
	struct own_connections *exclude;
	struct interface_names names; /* the ledger writer's thread's */
	pthread_mutex_t change;
	pthread_mutex_t lock; /* guards everything below */
	struct config config;
	struct capture_entry **entries; /* by id */
	size_t n;
	bool stopped;
};

/* --- capture_entry.c: with change or lock held --- */

/* what: "alias", "mark" */
bool name_check(const char *what, const char *name, struct err *e);
bool alias_check(const char *alias, struct err *e);
bool row_has_alias(const struct capture_row *r, const char *alias);
/* On failure nothing is to be done with *to. */
bool row_copy(struct capture_row *to, const struct capture_row *from);
struct capture_entry *capture_entry_by_alias(struct control *ctl,
					     const char *alias);
/* name: id or alias. */
struct capture_entry *capture_entry_find(struct control *ctl, const char *name,
					 struct err *e);
/* Its first alias, or its id, written into room. */
const char *capture_entry_label(const struct capture_entry *t, char room[24]);
/* Takes over the row, also when it fails. With change held. */
struct capture_entry *capture_entry_add(struct control *ctl,
					struct capture_row *row, struct err *e);
/* Commits a capture as the model row says, and adds it. With change held. */
struct capture_entry *capture_entry_create(struct control *ctl,
					   const struct capture_row *model,
					   struct err *e);
/* As if capture_entry_create had failed. With change held. */
void capture_entry_undo(struct control *ctl, struct capture_entry *t);
/* Ends its capture tail and frees it. With change held. */
void capture_entry_remove(struct control *ctl, struct capture_entry *t);
void capture_entry_free(struct capture_entry *t);
bool control_is_stopping(struct control *ctl, struct err *e);

/* --- snapshot.c --- */

/* With change held. */
bool capture_entry_view(struct control *ctl, const struct capture_entry *t,
			struct capture_view *v, struct err *e);
/* s += what earlier sources of this capture counted. */
void status_add(struct capture_status *s, const struct capture_status *past);
/* t += what more counted behind it; its segments are not known. */
void totals_join(struct store_totals *t, const struct store_totals *more);

/* --- run.c: with change held --- */

bool capture_entry_run(struct control *ctl, struct capture_entry *t,
		       struct err *e);
/* Everything that the source had is stored when this returns. */
void capture_entry_halt(struct control *ctl, struct capture_entry *t);
bool capture_entry_set_wanted(struct control *ctl, struct capture_entry *t,
			      bool wanted, struct err *e);

/* --- exclude.c --- */

/* With lock held: the ledgers hear what is left out no longer. */
void leave_out_look(struct control *ctl);
/* With lock held: it ran until now. */
void leave_out_end(struct control *ctl, const struct capture_entry *t,
		   struct capture *c);

/* --- names.c --- */

/* On the ledger writer's thread, without a lock. */
void names_look(struct control *ctl);

/* --- report_loss.c --- */

void tell_row(struct control *ctl, uint64_t capture, enum ledger_cause cause,
	      int64_t from_ns, int64_t to_ns, uint64_t packets,
	      const char *detail);
/* With lock held: it runs since opened_ns; 0: from now on. */
void tell_begin(struct control *ctl, struct capture_entry *t,
		int64_t opened_ns);
/* With lock held: it ran until last->stopped_ns, past is final; disk: what is
 * not told yet. */
void tell_end(struct control *ctl, struct capture_entry *t, struct capture *c,
	      const struct capture_status *last, const struct loss *disk);
/* It does not run: since it ended, or it never did. */
void tell_stopped(struct control *ctl, const struct capture_entry *t,
		  const char *why);
/* The ledger writer's look at all that run; ctx is the struct control. False:
 * one of them makes no progress. */
bool tell_look(void *ctx, struct clocks now);

#endif
