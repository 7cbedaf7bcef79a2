/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json: the API's messages as JSON, by their descriptors: every field with its
 * name and raw number. Whoever adds a field to the API has it here.
 *
 * What: an object of values and of arrays of objects, a line each. A value of
 * an enum is its name in small letters, 0 "unknown".
 * Text is escaped so that a terminal can have it.
 * Threads: one. Ownership: nothing is kept.
 */
#ifndef PCAPD_CLI_JSON_H
#define PCAPD_CLI_JSON_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *f;
	bool strings; /* integers over 2^53 are strings */
	bool nulls;   /* an empty text is null */
	bool more;    /* something is in the array or object already */
	unsigned depth;
};

/* The whole of it: '{' to '}' and a line's end. */
void json_begin(struct json *j, FILE *f, bool strings, bool nulls);
void json_end(struct json *j);
/* name NULL: in an array. */
void json_open(struct json *j, const char *name, char bracket);
void json_close(struct json *j, char bracket);
void json_text(struct json *j, const char *name, const char *text);
void json_signed(struct json *j, const char *name, int64_t value);
/* What is set of m, but for the fields that left_out names, with blanks
 * between: into the object that is open. */
void json_fields(struct json *j, const ProtobufCMessage *m,
		 const char *left_out);
/* A command's answer, if --json was given; false: it was not. audit, gaps,
 * remote and status print what is no message: rows of several pages, in another
 * order, with the name of a status; remotes; captures with a state beside. */
bool json_message(const ProtobufCMessage *m, const char *left_out, bool nulls);
/* An array of n messages. */
void json_messages(struct json *j, const char *name, size_t n, const void *all);

#endif
