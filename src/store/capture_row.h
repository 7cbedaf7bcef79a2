/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture_row: what survives a restart of a capture: a row of the table
 * captures, with its aliases, and a line of the file `capture` each.
 *
 * A new field is a column in schema/, a member here, and a line of
 * CAPTURE_FIELDS: SQL, the file (manifest.c) and what copies between them go by
 * the list. Its migration counts in captures.changes what it changed, so that
 * files of before, which lack the line, are older than the catalog.
 * Ownership: a row's strings are its own; capture_row_done frees them.
 */
#ifndef PCAPD_STORE_CAPTURE_ROW_H
#define PCAPD_STORE_CAPTURE_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ALIAS_MAX 64

#define PEOPLE_MAX 255
/* Of a capture whose people are not known any more: no person has that name,
 * so that only root sees it. */
#define PEOPLE_UNKNOWN "?"
#define UUID_MAX 32
struct capture_row {
	uint64_t id;
	char uuid[UUID_MAX + 1]; /* "": an older version made the footer */
	uint64_t changes;	 /* of the definition; 0: not known */
	bool savefile;		 /* made by import */
	bool wanted;		 /* running, and to be resumed */
	bool promiscuous;
	char *interface;
	char *filter;
	void *program; /* the compiled filter, also to compare */
	size_t program_bytes;
	int64_t program_link_type; /* that it is for; -1: not known */
	uint32_t link_type;
	uint32_t snaplen;
	uint64_t buffer_bytes;
	int64_t created_ns;
	uint64_t keep_bytes;	     /* retention, on disk; 0: no bound */
	int64_t keep_age_ns;	     /* 0: no bound */
	uint32_t rings;		     /* 0: one */
	uint64_t expired_seq;	     /* what retention removed ends there */
	char people[PEOPLE_MAX + 1]; /* who may see it; "": everybody */
	char **aliases;		     /* sorted */
	size_t n_aliases;
};

/*
 * F(name, what it is, who says so), in the order of the file. id is none of
 * them, as it is the folder's name.
 */
#define CAPTURE_FIELDS(F)                                                      \
	F(uuid, WORD, DEFINITION)                                              \
	F(changes, NUMBER, STORE)                                              \
	F(savefile, NUMBER, DEFINITION)                                        \
	F(wanted, NUMBER, DEFINITION)                                          \
	F(promiscuous, NUMBER, DEFINITION)                                     \
	F(link_type, NUMBER, DEFINITION)                                       \
	F(snaplen, NUMBER, DEFINITION)                                         \
	F(buffer_bytes, NUMBER, DEFINITION)                                    \
	F(created_ns, NUMBER, DEFINITION)                                      \
	F(keep_bytes, NUMBER, DEFINITION)                                      \
	F(keep_age_ns, NUMBER, DEFINITION)                                     \
	F(rings, NUMBER, DEFINITION)                                           \
	F(expired_seq, NUMBER, STORE)                                          \
	F(people, WORD, DEFINITION)                                            \
	F(interface, TEXT, DEFINITION)                                         \
	F(filter, TEXT, DEFINITION)                                            \
	F(program, PROGRAM, DEFINITION)                                        \
	F(program_link_type, NUMBER, CATALOG)

enum capture_field_kind {
	FIELD_NUMBER,  /* bool, 4 or 8 bytes */
	FIELD_WORD,    /* char [] */
	FIELD_TEXT,    /* char *, of malloc */
	FIELD_PROGRAM, /* program, of program_bytes */
};
enum capture_field_owner {
	OWNER_DEFINITION, /* who makes the capture; it is put with a row */
	OWNER_CATALOG,	  /* put with a row that is new; not in the file */
	OWNER_STORE,	  /* the store counts it; it is not put */
};
struct capture_field {
	const char *name;
	enum capture_field_kind kind;
	enum capture_field_owner owner;
	size_t at, bytes; /* in struct capture_row */
};
/* Up to the one without a name. */
extern const struct capture_field capture_fields[];
uint64_t capture_field_number(const struct capture_row *r,
			      const struct capture_field *f);
void capture_field_set_number(struct capture_row *r,
			      const struct capture_field *f, uint64_t n);
/* A field that is a word or a text; NULL: it has no text. */
const char *capture_field_text(const struct capture_row *r,
			       const struct capture_field *f);
/* false: memory is out. A word is cut to what it has room for. */
bool capture_field_set_text(struct capture_row *r,
			    const struct capture_field *f, const char *text);

bool capture_row_set_program(struct capture_row *r, const void *program,
			     size_t n);
/* false: memory is out; also for an alias that is NULL. */
bool capture_row_add_alias(struct capture_row *r, const char *alias);
void capture_row_done(struct capture_row *r);

#endif
