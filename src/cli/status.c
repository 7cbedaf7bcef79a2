/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap status. Guarantees that the JSON has every field of the API's
 * CaptureStatus, with its names and raw numbers; the table has what tells at a
 * glance whether a capture is well.
 */
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/remotes.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- for people --- */

static const char *age_text(int64_t ns, int64_t now_ns, char out[SPAN_TEXT])
{
	out[0] = '\0';
	/* A clock that was set back may make it negative. */
	return ns ? span_text(ns < now_ns ? now_ns - ns : 0, out) : out;
}

static void keep_cell(struct table *t, const Pcap__V1__Capture *c)
{
	char size[SIZE_TEXT], span[SPAN_TEXT];

	size_text(c->keep_bytes, size);
	span_text(c->keep_age_ns, span);
	if (c->keep_bytes && c->keep_age_ns)
		table_cell(t, "%s, %s", size, span);
	else if (c->keep_bytes || c->keep_age_ns)
		table_cell(t, "%s", c->keep_bytes ? size : span);
	else
		table_cell(t, "%s", "everything");
}

static void status_columns(struct table *t)
{
	table_column(t, "ID", TABLE_RIGHT);
	table_column(t, "ALIASES", TABLE_CUT);
	table_column(t, "STATE", 0);
	table_column(t, "NEWEST", TABLE_RIGHT);
	table_column(t, "SYNCED", TABLE_RIGHT);
	table_column(t, "QUEUE", TABLE_RIGHT);
	table_column(t, "LEVEL", TABLE_RIGHT);
	table_column(t, "DROPPED", TABLE_RIGHT);
	table_column(t, "STORED", TABLE_RIGHT);
	table_column(t, "KEEP", 0);
}

static void status_row(struct table *t, const Pcap__V1__CaptureStatus *s,
		       int64_t now_ns)
{
	const Pcap__V1__Capture *c = s->capture;
	bool runs = s->synced_ns || s->queue_blocks;
	char text[SPAN_TEXT], size[SIZE_TEXT];

	table_cell(t, "%" PRIu64, c->id);
	table_list(t, c->aliases, c->n_aliases);
	table_cell(t, "%s", state_text(c));
	table_cell(t, "%s", age_text(s->newest_ns, now_ns, text));
	table_cell(t, "%s", age_text(s->synced_ns, now_ns, text));
	if (runs) {
		table_cell(t, "%" PRIu64 "/%" PRIu64, s->queue_blocks,
			   s->queue_max);
		table_cell(t, "%" PRId64, s->compression_level);
	} else {
		table_cell(t, "%s", "");
		table_cell(t, "%s", "");
	}
	table_cell(t, "%" PRIu64,
		   c->dropped_kernel + c->dropped_interface +
			   c->dropped_memory + c->dropped_disk);
	table_cell(t, "%s", size_text(c->stored_bytes, size));
	keep_cell(t, c);
}

/* What does not fit into the table. remote: "lab:", for commands. */
static void say_more(const Pcap__V1__CaptureStatus *s, const char *remote)
{
	char name[CAPTURE_TEXT], prefix[CAPTURE_TEXT + 4];
	char a[TIME_TEXT], b[TIME_TEXT];

	capture_text(s->capture, name);
	snprintf(prefix, sizeof(prefix), "%s: ", name);
	if (s->capture->waiting_for[0])
		cli_print("%swaits: %s", prefix, s->capture->waiting_for);
	if (s->dropped_last_ns)
		cli_print("%sdropped %" PRIu64 " packets in the last hour, the "
			  "last at %s; 'pcap gaps %s%" PRIu64
			  " --last 1h' lists where",
			  prefix, s->dropped_lately,
			  time_short(s->dropped_last_ns, a), remote,
			  s->capture->id);
	if (s->disk_error[0])
		cli_print("%s%s", prefix, s->disk_error);
	for (size_t i = 0; i < s->n_problems; i++)
		cli_print("%s%s", prefix, s->problems[i]);
	forecast_say(stdout, s, prefix);
	for (size_t i = 0; i < s->n_holds; i++)
		cli_print("%shold %" PRIu64 " on %s to %s: %s", prefix,
			  s->holds[i]->id, time_text(s->holds[i]->since_ns, a),
			  time_text(s->holds[i]->until_ns, b),
			  s->holds[i]->reason);
	for (size_t i = 0; i < s->n_marks; i++)
		cli_print("%smark %s at %s", prefix, s->marks[i]->name,
			  time_text(s->marks[i]->at_ns, a));
	if (s->excluded_packets)
		cli_print("%s%" PRIu64 " packets of pcapd's own connections "
			  "were left out",
			  prefix, s->excluded_packets);
	for (size_t i = 0; i < s->n_excluded; i++)
		cli_print("%sleaves out pcapd's own connection %s", prefix,
			  s->excluded[i]);
}

/* Numbers in the packets of "any", and names that only this machine knows. */
static void say_names(const Pcap__V1__CaptureStatus *s)
{
	char at[TIME_TEXT];

	for (size_t i = 0; i < s->n_interface_names; i++)
		cli_print("interface %" PRIu32 " was %s, seen first at %s",
			  s->interface_names[i]->index,
			  s->interface_names[i]->name,
			  time_text(s->interface_names[i]->since_ns -
					    s->interface_names[i]->since_ns %
						    NS_PER_S,
				    at));
}

static void status_print(const Pcap__V1__StatusResponse *m, const char *remote)
{
	char size[SIZE_TEXT];
	struct table t;

	table_init(&t);
	status_columns(&t);
	for (size_t i = 0; i < m->n_captures; i++)
		status_row(&t, m->captures[i], m->now_ns);
	table_done(&t);
	for (size_t i = 0; i < m->n_captures; i++)
		say_more(m->captures[i], remote);
	for (size_t i = 0; i < m->n_problems; i++)
		cli_print("%s", m->problems[i]);
	if (m->n_captures == 1)
		say_names(m->captures[0]);
	if (m->spool_bytes)
		cli_print("all captures together keep at most %s",
			  size_text(m->spool_bytes, size));
	if (m->free_floor_bytes)
		cli_print("%s of the disk stay free",
			  size_text(m->free_floor_bytes, size));
}

/* --- JSON --- */

static void status_print_json(const Pcap__V1__StatusResponse *m)
{
	struct json j;

	json_begin(&j, stdout, cli_json() == JSON_STRINGS, true);
	json_open(&j, "captures", '[');
	for (size_t i = 0; i < m->n_captures; i++) {
		json_open(&j, NULL, '{');
		json_fields(&j, &m->captures[i]->capture->base, "");
		json_fields(&j, &m->captures[i]->base, "capture");
		json_signed(&j, "now_ns", m->now_ns);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_open(&j, "problems", '[');
	for (size_t i = 0; i < m->n_problems; i++)
		json_text(&j, NULL, m->problems[i]);
	json_close(&j, ']');
	json_end(&j);
}

static int status_run(const struct words *words)
{
	const char *name, *word = words->v[0] ? words->v[0] : "";
	char remote[REMOTE_NAME_MAX + 2];
	struct err e = ERR_INIT;

	if (!target_parse(word, &name, &e))
		return cli_fail(&e);
	Pcap__V1__StatusResponse *m = status_ask(name, &e);
	if (!m)
		return cli_fail(&e);
	snprintf(remote, sizeof(remote), "%.*s", (int)(name - word), word);
	if (cli_json())
		status_print_json(m);
	else
		status_print(m, remote);
	bool dropped = false;
	for (size_t i = 0; i < m->n_captures; i++)
		dropped |= m->captures[i]->dropped_last_ns != 0;
	pcap__v1__status_response__free_unpacked(m, NULL);
	int code = cli_done();
	return code || !dropped ? code : err_exit_code(ERR_INCOMPLETE);
}

const struct command command_status = {
	.name = "status",
	.summary = "tell whether captures are well",
	.args = "[REMOTE:][ID|ALIAS]",
	.help = "Tells whether captures are well. NEWEST and SYNCED are the "
		"ages of the newest packet and of the last instant before "
		"which everything would survive a power loss; QUEUE counts "
		"blocks that wait for the disk, of those that may; LEVEL is "
		"the compression's; DROPPED counts packets since pcapd was "
		"started. Exit code 3 if packets were dropped in the last "
		"hour.",
	.tables = true,
	.max = 1,
	.too_many = "one capture at most",
	.run = status_run,
};
