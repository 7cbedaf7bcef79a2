/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap import. Guarantees one call a file, so that what went in is known a
 * file, that one bad file does not keep the next ones out, and that what was
 * read before a signal is kept. What comes slowly is sent as it comes. The
 * daemon reads the format; files are sent as they are.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES (1u << 20)
/* What is there for so long is sent, however little it is. */
#define SEND_NS NS_PER_S
/* Who writes to us was sent the same signal, and has something to write yet. */
#define LAST_NS NS_PER_S
/* How long we look at one thing before we look at the others. */
#define LOOK_MS 100

/* A file on its way. */
struct upload {
	struct client *client;
	int fd, signals;
	uint8_t *chunk;
	size_t filled;
	int64_t since_ns; /* the chunk's first byte was read */
	int64_t until_ns; /* reading ends, as a signal came; 0: none did */
	bool ended;	  /* no more bytes come */
	int error;	  /* errno of a read; or 0 */
	char cut[160];	  /* why, before the end of the file; or "" */
};

/* From the second signal on they do what they do to every program. */
static void upload_signal(struct upload *u)
{
	struct signalfd_siginfo info;
	struct stat st;
	sigset_t set;

	if (read(u->signals, &info, sizeof(info)) != sizeof(info))
		return;
	sigemptyset(&set);
	sigaddset(&set, (int)info.ssi_signo);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	bool file = fstat(u->fd, &st) == 0 && S_ISREG(st.st_mode);
	u->until_ns = monotonic_ns() + (file ? 0 : LAST_NS);
}

static void upload_read(struct upload *u)
{
	ssize_t n = read(u->fd, u->chunk + u->filled, CHUNK_BYTES - u->filled);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n < 0) {
		u->error = errno;
		snprintf(u->cut, sizeof(u->cut), "it cannot be read on: %s",
			 strerror(errno));
	}
	u->ended = n <= 0;
	if (n > 0 && u->filled == 0)
		u->since_ns = monotonic_ns();
	u->filled += n > 0 ? (size_t)n : 0;
}

/* Bytes, a signal, or a while without either. */
static void upload_wait(struct upload *u)
{
	bool full = u->filled == CHUNK_BYTES;
	struct pollfd p[] = {{.fd = full ? -1 : u->fd, .events = POLLIN},
			     {.fd = u->signals, .events = POLLIN}};

	/* With a full chunk it is the message before that is waited for. */
	if (full)
		client_may_send(u->client, LOOK_MS);
	if (poll(p, 2, full ? 0 : LOOK_MS) > 0) {
		if (p[1].revents)
			upload_signal(u);
		if (p[0].revents)
			upload_read(u);
	}
	client_tend(u->client);
	if (u->until_ns && !u->ended && monotonic_ns() >= u->until_ns) {
		u->ended = true;
		snprintf(u->cut, sizeof(u->cut), "interrupted");
	}
}

static bool upload_is_due(const struct upload *u)
{
	return u->filled == CHUNK_BYTES ||
	       (u->filled && monotonic_ns() - u->since_ns >= SEND_NS);
}

/* The file's bytes into the call; when that has ended, client_finish knows
 * why. The first message has no bytes, and so is not late. */
static void upload_run(struct upload *u, Pcap__V1__ImportRequest *m)
{
	bool goes = client_send(u->client, &m->base);

	m->alias = m->file = (char *)protobuf_c_empty_string;
	while (goes && !u->ended && !client_has_ended(u->client)) {
		upload_wait(u);
		if (!u->ended &&
		    (!upload_is_due(u) || !client_may_send(u->client, 0)))
			continue;
		m->data = (ProtobufCBinaryData){u->filled, u->chunk};
		m->cut = u->cut;
		if (u->filled || *u->cut)
			goes = client_send(u->client, &m->base);
		u->filled = 0;
	}
}

static bool import_say_end(const Pcap__V1__ImportResponse *m, const char *file,
			   struct err *e)
{
	char name[CAPTURE_TEXT], size[SIZE_TEXT];

	cli_say("%s: %" PRIu64 " packets, %s, into %s%s", file, m->packets,
		size_text(m->raw_bytes, size), m->created ? "the new " : "",
		m->capture ? capture_text(m->capture, name) : "?");
	for (size_t i = 0; i < m->n_notes; i++)
		cli_say("%s: %s", file, m->notes[i]);
	if (!m->incomplete[0])
		return true;
	return err_set(e, ERR_INCOMPLETE, "%s", m->incomplete);
}

static bool import_fd(struct client *c, const char *alias, const char *file,
		      int fd, int signals, bool *stopped, struct err *e)
{
	Pcap__V1__ImportRequest m = PCAP__V1__IMPORT_REQUEST__INIT;
	struct upload u = {.client = c,
			   .fd = fd,
			   .signals = signals,
			   .chunk = malloc(CHUNK_BYTES)};

	if (!u.chunk)
		return err_set(e, ERR_FAILED, "out of memory");
	m.alias = (char *)alias;
	m.file = (char *)file;
	client_upload(c, "Import");
	upload_run(&u, &m);
	Pcap__V1__ImportResponse *answer =
		(Pcap__V1__ImportResponse *)client_finish(c, e);
	free(u.chunk);
	*stopped = u.until_ns != 0;
	if (!answer && u.error) {
		errno = u.error;
		return err_errno(e, "read %s", file);
	}
	bool ok = answer && import_say_end(answer, file, e);
	/* What an older pcapd does not know. */
	if (ok && *u.cut)
		ok = err_set(e, ERR_INCOMPLETE, "%s: %s", file, u.cut);
	if (answer)
		pcap__v1__import_response__free_unpacked(answer, NULL);
	return ok;
}

static bool import_import_file(struct client *c, const char *alias,
			       const char *file, int signals, bool *stopped,
			       struct err *e)
{
	if (strcmp(file, "-") == 0)
		return import_fd(c, alias, "stdin", STDIN_FILENO, signals,
				 stopped, e);
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, "open %s", file);
	bool ok = import_fd(c, alias, file, fd, signals, stopped, e);
	close(fd);
	return ok;
}

/* Blocked before there are threads; -1 on error. */
static int import_signals(struct err *e)
{
	struct sigaction hup;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	/* nohup(1) means it. */
	if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		err_errno(e, "watch for signals");
	return fd;
}

static int import_files(struct client *c, const char *alias,
			const struct words *words, int signals)
{
	struct err e = ERR_INIT;
	bool stopped = false;
	int code = 0;

	for (int i = 1; i < words->n && !stopped; i++) {
		if (import_import_file(c, alias, words->v[i], signals, &stopped,
				       &e))
			continue;
		int failed = cli_fail(&e);
		/* What failed weighs more than what is incomplete. */
		if (code == 0 || code == err_exit_code(ERR_INCOMPLETE))
			code = failed;
		if (e.kind == ERR_UNREACHABLE)
			break;
	}
	return code;
}

static int import_run(const struct words *words)
{
	struct err e = ERR_INIT;
	const char *alias;

	if (!target_parse(words->v[0], &alias, &e))
		return cli_fail(&e);
	int signals = import_signals(&e);
	if (signals < 0)
		return cli_fail(&e);
	struct client *c = cli_connect(&e);
	if (!c)
		return cli_fail(&e);
	int code = import_files(c, alias, words, signals);
	client_close(c);
	close(signals);
	return code;
}

const struct command command_import = {
	.name = "import",
	.summary = "store the packets of savefiles",
	.args = "[REMOTE:]ALIAS FILE...",
	.help = "Stores the packets of savefiles (pcap, pcapng, and either of "
		"them compressed with zstd or gzip) in the capture of that "
		"alias, which is made if there is none. '-' is the standard "
		"input.",
	.min = 2,
	.max = WORDS_ANY,
	.too_few = "expected an alias and at least one file",
	.run = import_run,
};
