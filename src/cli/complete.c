/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap complete LINE: what may stand at the end of a command line, for shells.
 * Guarantees that it knows the commands, options and words that the help of
 * each command tells of, as it reads the same tables, that it asks nobody for a
 * password, and that it ends soon. Leaves out quotes: a line is words with
 * blanks between.
 */
#include "cli/cli.h"
#include "cli/remotes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A shell waits for it, with somebody at the keys. */
#define PATIENCE_S 5
#define WORDS_MAX 64

/* --- what may stand there --- */

/* The word that is begun. */
static const char *begun;

static void complete_offer(const char *prefix, size_t n, const char *word,
			   const char *suffix)
{
	char all[2 * ADDRESS_TEXT_MAX];

	snprintf(all, sizeof(all), "%.*s%s%s", (int)n, prefix, word, suffix);
	if (strncmp(all, begun, strlen(begun)) == 0)
		cli_print("%s", all);
}

static void offer_options(const struct cli_option *rows)
{
	for (const struct cli_option *o = rows; o && o->name; o++)
		complete_offer("--", 2, o->name, "");
}

static void offer_remotes(const char *suffix)
{
	char path[ADDRESS_TEXT_MAX];
	struct err e = ERR_INIT;
	struct remote *all;
	size_t n;

	if (!remotes_path(path, &e) || !remotes_read(path, &all, &n, &e))
		return;
	for (size_t i = 0; i < n; i++)
		complete_offer("", 0, all[i].name, suffix);
	free(all);
}

/* Only what the command can be done to. */
static bool is_for(const char *command, const Pcap__V1__Capture *c)
{
	bool runs = c->state == PCAP__V1__CAPTURE__STATE__RUNNING ||
		    c->state == PCAP__V1__CAPTURE__STATE__WAITING;

	if (strcmp(command, "start") == 0)
		return !runs && !c->savefile;
	return strcmp(command, "stop") != 0 || runs;
}

static void offer_captures(const char *command, const char *prefix, size_t n)
{
	Pcap__V1__ListRequest ask = PCAP__V1__LIST_REQUEST__INIT;
	struct err e = ERR_INIT;
	char id[24];
	Pcap__V1__ListResponse *m =
		(Pcap__V1__ListResponse *)cli_call("List", &ask.base, &e);

	for (size_t i = 0; m && i < m->n_captures; i++) {
		const Pcap__V1__Capture *c = m->captures[i];

		if (!is_for(command, c))
			continue;
		snprintf(id, sizeof(id), "%" PRIu64, c->id);
		complete_offer(prefix, n, id, "");
		for (size_t k = 0; k < c->n_aliases; k++)
			complete_offer(prefix, n, c->aliases[k], "");
	}
	if (m)
		pcap__v1__list_response__free_unpacked(m, NULL);
}

static void offer_interfaces(const char *prefix, size_t n)
{
	Pcap__V1__InterfacesRequest ask = PCAP__V1__INTERFACES_REQUEST__INIT;
	struct err e = ERR_INIT;
	Pcap__V1__InterfacesResponse *m =
		(Pcap__V1__InterfacesResponse *)cli_call("Interfaces",
							 &ask.base, &e);

	for (size_t i = 0; m && i < m->n_interfaces; i++)
		complete_offer(prefix, n, m->interfaces[i]->name, "");
	if (m)
		pcap__v1__interfaces_response__free_unpacked(m, NULL);
}

/* what: "[REMOTE:][INTERFACE]", "[REMOTE:]ID|ALIAS" */
static void offer_target(const char *command, const char *what)
{
	struct err e = ERR_INIT;
	const char *name;

	if (!strchr(begun, ':'))
		offer_remotes(":");
	if (!target_parse(begun, &name, &e))
		return;
	/* ssh may ask for a password. */
	if (target_address()->kind == ADDRESS_SSH)
		return;
	if (strstr(what, "INTERFACE"))
		offer_interfaces(begun, (size_t)(name - begun));
	else if (strstr(what, "ALIAS"))
		offer_captures(command, begun, (size_t)(name - begun));
}

/* The marks or the holds of the capture that the line names. */
static void offer_kept(const char *capture, bool holds)
{
	struct err e = ERR_INIT;
	const char *name;
	char id[24];

	if (!capture || !target_parse(capture, &name, &e) ||
	    target_address()->kind == ADDRESS_SSH)
		return;
	Pcap__V1__StatusResponse *m = status_ask(name, &e);
	for (size_t i = 0; m && i < m->n_captures; i++) {
		const Pcap__V1__CaptureStatus *s = m->captures[i];

		for (size_t k = 0; holds && k < s->n_holds; k++) {
			snprintf(id, sizeof(id), "%" PRIu64, s->holds[k]->id);
			complete_offer("", 0, id, "");
		}
		for (size_t k = 0; !holds && k < s->n_marks; k++)
			complete_offer("", 0, s->marks[k]->name, "");
	}
	if (m)
		pcap__v1__status_response__free_unpacked(m, NULL);
}

/* What a shell takes for the names of files. */
static void offer_files(void)
{
	cli_print(":files");
}

/* By what stands for an option's value in the help. */
static void offer_value(const char *what, const char *capture)
{
	static const char *const lengths[] = {"1m", "10m", "1h", "1d"};

	if (strcmp(what, "FILE") == 0 || strcmp(what, "PATH") == 0)
		offer_files();
	if (strcmp(what, "TIME") == 0)
		offer_kept(capture, false);
	for (size_t i = 0;
	     (strcmp(what, "TIME") == 0 || strcmp(what, "LENGTH") == 0) &&
	     i < sizeof(lengths) / sizeof(lengths[0]);
	     i++)
		complete_offer("", 0, lengths[i], "");
}

static void offer_commands(void)
{
	for (size_t i = 0; commands[i]; i++)
		complete_offer("", 0, commands[i]->name, "");
}

/* By a word of the command's form. */
static void offer_argument(const char *command, const char *what,
			   const char *capture)
{
	if (strstr(what, "REMOTE:"))
		offer_target(command, what);
	else if (strstr(what, "FILE"))
		offer_files();
	else if (strcmp(what, "HOLD") == 0)
		offer_kept(capture, true);
	else if (strstr(what, "REMOTE"))
		offer_remotes("");
	else if (strstr(what, "COMMAND"))
		offer_commands();
	else if (!strpbrk(what, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
		complete_offer("", 0, what, "");
}

/* --- where the line is --- */

struct complete_place {
	const char *words[WORDS_MAX]; /* behind the command, no options */
	size_t n;
	const struct cli_option *value; /* whose value comes next, or NULL */
};

static const struct cli_option *option_among(const struct cli_option *rows,
					     const char *word)
{
	for (const struct cli_option *o = rows; o && o->name; o++)
		if (word[1] == '-' ? strcmp(o->name, word + 2) == 0
				   : o->key == word[strlen(word) - 1])
			return o;
	return NULL;
}

static const struct cli_option *option_find(const struct command *c,
					    const char *word)
{
	const struct cli_option *o = option_among(c->options, word);

	if (!o && c->tables)
		o = option_among(options_of_tables, word);
	return o ? o : option_among(options_of_all, word);
}

static void place_add(struct complete_place *p, const struct command *c,
		      const char *word)
{
	const struct cli_option *o;
	bool is_value = p->value;

	p->value = NULL;
	if (is_value || (*word == '-' && !word[1]))
		return;
	if (*word != '-') {
		p->words[p->n++] = word;
		return;
	}
	o = option_find(c, word);
	if (o && o->value && !o->optional && !strchr(word, '='))
		p->value = o;
}

/* One form of the command, "remove [REMOTE:]ALIAS". Its words that are no names
 * have to be there. */
static void offer_form(const char *command, char *form,
		       const struct complete_place *p)
{
	char *rest = NULL, *what = strtok_r(form, " ", &rest);

	for (size_t i = 0; what && i < p->n; i++) {
		if (!strpbrk(what, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") &&
		    strcmp(what, p->words[i]) != 0)
			return;
		const char *next = strtok_r(NULL, " ", &rest);
		/* FILE... is as many as there are. */
		if (next || !strstr(what, "..."))
			what = (char *)next;
	}
	if (what)
		offer_argument(command, what, p->n ? p->words[0] : NULL);
}

static void offer_words(const struct command *c, const struct complete_place *p)
{
	char *forms = strdup(c->args), *rest = NULL;

	if (!forms)
		return;
	for (char *form = strtok_r(forms, "\n", &rest); form;
	     form = strtok_r(NULL, "\n", &rest))
		offer_form(c->name, form, p);
	free(forms);
}

static void complete(char *line)
{
	char *last = strrchr(line, ' '), *rest = NULL, *word;
	const struct command *c = &command_line;
	const char *nearest, *before = NULL;
	struct complete_place p = {0};
	size_t n = 0;

	begun = last ? last + 1 : line;
	if (last)
		*last = '\0';
	word = last ? strtok_r(line, " ", &rest) : NULL; /* pcap itself */
	while (word && (word = strtok_r(NULL, " ", &rest)) && n++ < WORDS_MAX) {
		if (p.value && before && strcmp(before, "--socket") == 0)
			setenv("PCAP_SOCKET", word, 1);
		before = word;
		place_add(&p, c, word);
		if (!c->leads || !p.n)
			continue;
		c = command_find(p.words[0], &nearest);
		if (!c)
			return;
		p.n = 0;
	}
	if (n >= WORDS_MAX)
		return;
	if (p.value)
		offer_value(p.value->value, p.n ? p.words[0] : NULL);
	else if (*begun != '-')
		offer_words(c, &p);
	else {
		offer_options(c->options);
		if (c->tables)
			offer_options(options_of_tables);
		offer_options(options_of_all);
	}
}

static int complete_run(const struct words *words)
{
	alarm(PATIENCE_S);
	char *copy = strdup(words->v[0]);
	if (copy)
		complete(copy);
	free(copy);
	return cli_done();
}

const struct command command_complete = {
	.name = "complete",
	.summary = "list what a command line may go on with, for shells",
	.args = "LINE",
	.help = "Lists what may stand at the end of LINE.",
	.min = 1,
	.max = 1,
	.too_few = "expected a line, as one argument",
	.too_many = "expected a line, as one argument",
	.run = complete_run,
};
