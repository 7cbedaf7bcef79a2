/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filter of a line. Guarantees that a flow becomes a filter of numbers
 * alone: addresses are read by inet_pton(3), so that nothing of them is a word
 * of pcap-filter(7) or a name to be looked up. Leaves out what a filter means.
 */
#include "cli/filter_words.h"

#include "cli/cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What pcapd takes is far shorter (max-filter). */
#define FILE_MAX (1u << 20)
#define FLOW_FILTER 512

/* --- a file --- */

/* As tcpdump(1) reads it: '#' begins a comment, lines are joined. */
static void filter_file_clean(char *text)
{
	bool comment = false;

	for (; *text; text++) {
		comment = *text == '#' || (comment && *text != '\n');
		if (comment || *text == '\n' || *text == '\r')
			*text = ' ';
	}
}

static char *filter_file_read(const char *path, struct err *e)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char *text = calloc(1, FILE_MAX + 2);

	if (!f || !text) {
		err_errno(e, "-F %s", path);
		free(text);
		return NULL;
	}
	size_t n = fread(text, 1, FILE_MAX + 1, f);
	bool failed = ferror(f);
	if (failed)
		err_errno(e, "-F %s", path);
	else if (n > FILE_MAX || strlen(text) != n)
		failed = !err_set(e, ERR_USAGE,
				  "-F %s: expected a filter, a text of at most "
				  "1 MiB",
				  path);
	if (f != stdin)
		fclose(f);
	if (failed) {
		free(text);
		return NULL;
	}
	filter_file_clean(text);
	return text;
}

/* --- a flow --- */

struct flow_end {
	char address[INET6_ADDRSTRLEN];
	uint64_t port;
	int family;
};

static const char *const with_ports[] = {"tcp", "udp", "sctp", NULL};
static const char *const without_ports[] = {"icmp", "icmp6", NULL};

static bool flow_is_one_of(const char *const *names, const char *name)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names;
}

/* text: 10.0.0.7:443, [::1]:443; without ports 10.0.0.7, ::1, [::1]. */
static bool flow_end_read(struct flow_end *end, char *text, bool ports)
{
	struct err ignored = ERR_INIT;
	char *close = NULL, *colon;
	uint8_t bytes[16];

	if (*text == '[') {
		close = strchr(++text, ']');
		if (!close)
			return false;
		*close++ = '\0';
	}
	if (ports) {
		colon = close ? close : strchr(text, ':');
		if (!colon || *colon != ':' ||
		    !number_parse("port", colon + 1, 0, 65535, &end->port,
				  &ignored))
			return false;
		*colon = '\0';
	} else if (close && *close) {
		return false;
	}
	end->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	return inet_pton(end->family, text, bytes) == 1 &&
	       inet_ntop(end->family, bytes, end->address,
			 sizeof(end->address));
}

static bool flow_read(const char *text, char *proto, size_t size,
		      struct flow_end end[2], bool *ports)
{
	char copy[256], *at = copy;

	if (strlen(text) >= sizeof(copy))
		return false;
	strcpy(copy, text);
	const char *name = strsep(&at, ",");
	char *a = strsep(&at, ","), *b = strsep(&at, ",");

	*ports = flow_is_one_of(with_ports, name);
	if (!b || at || (!*ports && !flow_is_one_of(without_ports, name)))
		return false;
	snprintf(proto, size, "%s", name);
	return flow_end_read(&end[0], a, *ports) &&
	       flow_end_read(&end[1], b, *ports) &&
	       end[0].family == end[1].family;
}

static void flow_way(char *out, size_t size, bool ports,
		     const struct flow_end *from, const struct flow_end *to)
{
	if (ports)
		snprintf(out, size,
			 "(src host %s and src port %u and dst host %s and dst "
			 "port %u)",
			 from->address, (unsigned)from->port, to->address,
			 (unsigned)to->port);
	else
		snprintf(out, size, "(src host %s and dst host %s)",
			 from->address, to->address);
}

static bool flow_filter(const char *text, char out[FLOW_FILTER], struct err *e)
{
	char proto[8], there[FLOW_FILTER / 2 - 16], back[FLOW_FILTER / 2 - 16];
	struct flow_end end[2];
	bool ports;

	if (!flow_read(text, proto, sizeof(proto), end, &ports)) {
		err_set(e, ERR_USAGE,
			"--flow: expected PROTO,A:PORT,B:PORT with numeric "
			"addresses of one family, not '%s'",
			text);
		return err_hint(e, "For example tcp,10.0.0.7:443,10.0.0.9:"
				   "50312, udp,[2001:db8::1]:53,[2001:db8::2]:"
				   "4000, sctp, or icmp,10.0.0.7,10.0.0.9 and "
				   "icmp6 without ports.");
	}
	flow_way(there, sizeof(there), ports, &end[0], &end[1]);
	flow_way(back, sizeof(back), ports, &end[1], &end[0]);
	snprintf(out, FLOW_FILTER, "%s and (%s or %s)", proto, there, back);
	return true;
}

/* --- together --- */

char *filter_words(const struct filter_words *f, const struct words *w,
		   int from, struct err *e)
{
	char flow[FLOW_FILTER] = "", *both = NULL;

	if (f->file && w->n > from) {
		err_set(e, ERR_USAGE,
			"expected a filter in the line or in a file (-F), got "
			"both");
		return NULL;
	}
	if (f->flow && !flow_filter(f->flow, flow, e))
		return NULL;
	char *text =
		f->file ? filter_file_read(f->file, e) : words_join(w, from);
	if (!text || !f->flow)
		return text;
	bool only = !text[strspn(text, " \t")];
	if (asprintf(&both, only ? "%s%s" : "(%s) and %s", only ? "" : text,
		     flow) < 0)
		abort();
	free(text);
	return both;
}
