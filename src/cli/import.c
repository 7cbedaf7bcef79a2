/*
 * pcap import. Guarantees one call a file, so that what went in is known a
 * file, and that one bad file does not keep the next ones out. The daemon
 * reads the format; files are sent as they are.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_BYTES (1u << 20)

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct words *words = state->input;

	(void)arg;
	switch (key) {
	case ARGP_KEY_ARGS:
		words_take(words, state);
		return 0;
	case ARGP_KEY_END:
		if (words->n < 2)
			argp_error(state,
				   "expected an alias and at least one file");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	NULL,
	parse,
	"[REMOTE:]ALIAS FILE...",
	"Stores the packets of savefiles (pcap, pcapng, and either of them "
	"compressed with zstd) in the capture of that alias, which is made if "
	"there is none. '-' is the standard input.",
	cli_common,
	NULL,
	NULL};

/* Fills the chunk, also from a pipe. -1 and the error of the reading. */
static ssize_t chunk_read(int fd, uint8_t *to)
{
	size_t n = 0;

	while (n < CHUNK_BYTES) {
		ssize_t got = read(fd, to + n, CHUNK_BYTES - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

/* The file's bytes into the call; an error is the file's. */
static bool send_all(struct client *c, int fd, Pcap__V1__ImportRequest *m,
		     uint8_t *chunk, struct err *e)
{
	const char *file = m->file;

	for (;;) {
		ssize_t n = chunk_read(fd, chunk);
		if (n < 0)
			return err_errno(e, "read %s", file);
		m->data.data = chunk;
		m->data.len = (size_t)n;
		/* When it is not taken, client_finish knows why. */
		if (!client_send(c, &m->base) || n < (ssize_t)CHUNK_BYTES)
			return true;
		m->alias = m->file = (char *)protobuf_c_empty_string;
	}
}

static bool say(const Pcap__V1__ImportResponse *m, const char *file,
		struct err *e)
{
	char name[CAPTURE_TEXT], size[SIZE_TEXT];

	cli_say("%s: %" PRIu64 " packets, %s, into %s%s", file, m->packets,
		size_text(m->raw_bytes, size), m->created ? "the new " : "",
		m->capture ? capture_text(m->capture, name) : "?");
	if (!m->incomplete[0])
		return true;
	return err_set(e, ERR_INCOMPLETE, "%s", m->incomplete);
}

static bool import_fd(struct client *c, const char *alias, const char *file,
		      int fd, struct err *e)
{
	Pcap__V1__ImportRequest m = PCAP__V1__IMPORT_REQUEST__INIT;
	struct err ours = ERR_INIT;
	uint8_t *chunk = malloc(CHUNK_BYTES);

	if (!chunk)
		return err_set(e, ERR_FAILED, "out of memory");
	m.alias = (char *)alias;
	m.file = (char *)file;
	client_upload(c, "Import");
	bool sent = send_all(c, fd, &m, chunk, &ours);
	if (!sent)
		client_cancel(c);
	Pcap__V1__ImportResponse *answer =
		(Pcap__V1__ImportResponse *)client_finish(c, e);
	client_resume(c, 0);
	free(chunk);
	bool ok = answer && sent && say(answer, file, e);
	if (answer)
		pcap__v1__import_response__free_unpacked(answer, NULL);
	if (!sent)
		*e = ours;
	return ok;
}

static bool import_file(struct client *c, const char *alias, const char *file,
			struct err *e)
{
	if (strcmp(file, "-") == 0)
		return import_fd(c, alias, "stdin", STDIN_FILENO, e);
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, "open %s", file);
	bool ok = import_fd(c, alias, file, fd, e);
	close(fd);
	return ok;
}

static int run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct words words = {0};
	const char *alias;
	int code = 0;

	cli_parse(&argp, argc, argv, &words);
	if (!target_parse(words.v[0], &alias, &e))
		return cli_fail(&e);
	struct client *c = cli_connect(&e);
	if (!c)
		return cli_fail(&e);
	for (int i = 1; i < words.n; i++) {
		if (import_file(c, alias, words.v[i], &e))
			continue;
		int failed = cli_fail(&e);
		/* What failed weighs more than what is incomplete. */
		if (code == 0 || code == err_exit_code(ERR_INCOMPLETE))
			code = failed;
		if (e.kind == ERR_UNREACHABLE)
			break;
	}
	client_close(c);
	return code;
}

const struct command command_import = {
	"import", "store the packets of savefiles", &argp, run};
