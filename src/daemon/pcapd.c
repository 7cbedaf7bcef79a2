/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcapd: captures, stores, serves.
 *
 * The threads, and who waits for what:
 *	main		signals, by signalfd; starts and stops everything
 *	pcapd-capture	one each: kernel's ring -> open block; never waits
 *	pcapd-writer	one each: sealed blocks -> segments; waits for disks
 *	pcapd-catalog	the one that writes SQLite
 *	pcapd-sync	once a second: what was written becomes durable
 *	pcapd-retain	behind it: removes the oldest segments
 *	pcapd-verify	after a start: looks for rows that were altered
 *	pcapd-ledger	once a second: what captures received and lost -> the
 *			catalog; the watchdog believes it
 *	pcapd-accept	connections on the socket and over TCP
 *	pcapd-tls	one a connection over TCP: TLS <-> gRPC
 *	pcapd-guard	one a connection on the socket: looks at its frames
 *	pcapd-grpc	gRPC's events; never waits; sends what comes next
 *	pcapd-broadcast	slices of captures -> queues of listeners
 *	pcapd-pump	slices -> listeners that filter
 *	pcapd-worker	requests with one answer; wait for the catalog
 *	replay, import	a thread each while they last; wait for their client
 *	pcapd-compress	some for all writers: blocks whose turn comes next
 *	pcapd-decode	some a replay or count that filters: the same for it;
 *			they yield to all of the above (nice)
 *	(gRPC has a few threads of its own)
 *
 * Filters are compiled in processes beside, one each: bpf_compiler.h.
 *
 * Stopping goes against the flow: first the clients are told and go, then
 * captures seal their blocks, then writers close their segments, then the
 * catalog is closed.
 */
#include "base/log.h"
#include "capture/capture.h"
#include "control/captures.h"
#include "control/config.h"
#include "daemon/sandbox.h"
#include "daemon/tls_admin.h"
#include "packet/bpf_compiler.h"
#include "server/server.h"

#include <argp.h>
#include <errno.h>
#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_FILE "/etc/pcapd.conf"
/* A stop takes no longer than END_NS; for clients to take what they asked for
 * there are GRACE_MS of it. */
#define GRACE_MS 1000
#define END_NS (5 * NS_PER_S / 2)
#define END_LOOK_MS 50
/* The last look at the captures that found them well is not older. */
#define WELL_NS (5 * NS_PER_S)
#define LOG_LOOK_MS 10000

const char *argp_program_version = "pcapd " PCAPD_VERSION;

/* Settings of the command line, which win over those of the file. */
static const struct {
	int key;
	const char *option;
} settings[] = {
	{'d', "spool"},
	{'s', "socket"},
	{'g', "socket-group"},
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

struct args {
	const char *config; /* NULL: CONFIG_FILE if it is there */
	bool check_config;  /* and no more */
	const char *verb;   /* NULL: to serve */
	int n_words;	    /* behind the verb tls */
	char **words;
	const char *values[SETTINGS];
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct args *a = state->input;

	if (key == 'c') {
		a->config = value;
		return 0;
	}
	if (key == 'C') {
		a->check_config = true;
		return 0;
	}
	if (key == ARGP_KEY_ARG) {
		if (a->verb ||
		    (strcmp(value, "check") && strcmp(value, "repair") &&
		     strcmp(value, "reindex") && strcmp(value, "tls")))
			argp_error(state, "there is no '%s' to do", value);
		a->verb = value;
		if (strcmp(value, "tls") == 0) {
			a->n_words = state->argc - state->next + 1;
			a->words = state->argv + state->next - 1;
			state->next = state->argc;
		}
		return 0;
	}
	for (size_t i = 0; i < SETTINGS; i++)
		if (settings[i].key == key) {
			a->values[i] = value;
			return 0;
		}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"config", 'c', "FILE", 0,
	 "Read settings from FILE (default: " CONFIG_FILE " if it exists)", 0},
	{"check-config", 'C', NULL, 0,
	 "Say what is wrong with the settings, and exit", 0},
	{"spool", 'd', "DIR", 0, "Keep packets in DIR", 0},
	{"socket", 's', "PATH", 0, "Listen on the UNIX socket PATH", 0},
	{"socket-group", 'g', "NAME", 0,
	 "Let members of the group NAME connect", 0},
	{0},
};

static const struct argp parser = {
	.options = options,
	.parser = parse_option,
	.args_doc =
		"[check|repair|reindex]\ntls init|issue|allow|list|revoke ...",
	.doc = "Captures packets, keeps them, and serves them to pcap(1).\v"
	       "With check it says what is wrong with the spool, and changes "
	       "nothing; with repair it makes catalog and segments agree; with "
	       "reindex it makes the "
	       "index of segments that have none. "
	       "All need a spool that no daemon uses. With tls it makes and "
	       "revokes the certificates of those who connect from other "
	       "machines: 'pcapd tls --help'.\n\n"
	       "pcapd stays in the foreground. SIGTERM stops it, SIGHUP makes "
	       "it read its settings again.",
};

/* NULL: there is none. */
static const char *config_file(const struct args *a)
{
	if (a->config)
		return a->config;
	return access(CONFIG_FILE, F_OK) == 0 ? CONFIG_FILE : NULL;
}

static bool pcapd_load(const struct args *a, struct config *c, struct err *e)
{
	const char *file = config_file(a);

	config_defaults(c);
	if (file && !config_read(c, file, e))
		return false;
	for (size_t i = 0; i < SETTINGS; i++)
		if (a->values[i] &&
		    !config_set(c, settings[i].option, a->values[i], e))
			return err_wrap(e, "command line");
	return true;
}

/* Before gRPC makes threads, which inherit the mask. */
static int open_signals(struct err *e)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		err_errno(e, "wait for signals");
	return fd;
}

/* A connection, a segment and a reader's catalog are descriptors each. */
static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* The pages of a replay or an import go back to the system when it ends:
 * without this glibc learns to keep what was large once. */
static void keep_memory_low(void)
{
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	mallopt(M_ARENA_MAX, 2);
}

static void grpc_said(gpr_log_func_args *a)
{
	if (a->severity == GPR_LOG_SEVERITY_ERROR)
		log_warn("gRPC: %s", a->message);
}

/* In the log, and for 'systemctl status'. */
static void tell_waiting(const struct config *running, const struct config *c)
{
	char names[512];

	if (!config_waits(running, c, names, sizeof(names))) {
		sd_notify(0, "STATUS=");
		return;
	}
	log_warn("%s: changed, and waits for a restart", names);
	sd_notifyf(0, "STATUS=Changed, and waits for a restart: %s", names);
}

static void pcapd_reload(const struct args *a, struct control *ctl,
			 struct server *s)
{
	struct config c, running;
	struct err e = ERR_INIT;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
		   monotonic_ns() / 1000);
	if (pcapd_load(a, &c, &e)) {
		server_configure(s, &c);
		control_configure(ctl, &c);
		log_info("read the settings again");
		running = control_config(ctl);
		tell_waiting(&running, &c);
	} else {
		err_wrap(&e, "the old settings stay");
		log_err(LOG_LEVEL_ERROR, &e);
	}
	sd_notify(0, "READY=1");
}

/* A service manager that hears nothing starts pcapd again: it is told only
 * while captures make progress. */
static void feed_watchdog(struct control *ctl)
{
	static bool was_well = true;
	bool well = control_is_well(ctl, WELL_NS);

	if (well)
		sd_notify(0, "WATCHDOG=1");
	else if (was_well)
		log_error("a capture or the catalog makes no progress");
	was_well = well;
}

/* Until one of the signals says stop. */
static void pcapd_run(const struct args *a, struct control *ctl,
		      struct server *s, int signals)
{
	struct signalfd_siginfo info;
	uint64_t watchdog_us = 0;
	bool watched = sd_watchdog_enabled(0, &watchdog_us) > 0;
	int patience_ms = watched && watchdog_us / 3000 < LOG_LOOK_MS
				  ? (int)(watchdog_us / 3000)
				  : LOG_LOOK_MS;

	for (;;) {
		struct pollfd fd = {.fd = signals, .events = POLLIN};

		if (watched)
			feed_watchdog(ctl);
		log_held(monotonic_ns());
		if (poll(&fd, 1, patience_ms) == 0)
			continue;
		ssize_t n = read(signals, &info, sizeof(info));

		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)sizeof(info)) {
			log_error("read signals: %s", strerror(errno));
			return;
		}
		if (info.ssi_signo != SIGHUP) {
			log_info("stopping: %s",
				 strsignal((int)info.ssi_signo));
			return;
		}
		pcapd_reload(a, ctl, s);
	}
}

/*
 * The process ends in time, whatever the disk does. When all that was received
 * is written that is as good as a kill: what is not durable yet the system
 * writes, and the next start closes segments. Until then a slow disk is waited
 * for.
 */
struct ending {
	int64_t at_ns; /* CLOCK_MONOTONIC */
	pthread_mutex_t lock;
	struct control *ctl; /* guarded by lock; NULL: control_stop is over */
};

static bool end_may_be(struct ending *n)
{
	pthread_mutex_lock(&n->lock);
	bool yes = !n->ctl || control_is_written(n->ctl);
	pthread_mutex_unlock(&n->lock);
	return yes;
}

static void *end_main(void *arg)
{
	struct ending *n = arg;

	while (monotonic_ns() < n->at_ns || !end_may_be(n))
		poll(NULL, 0, END_LOOK_MS);
	log_warn("the disk takes too long: what was received is written, and "
		 "the next start closes segments");
	_exit(0);
}

static void end_in_time(struct ending *n, struct control *ctl)
{
	pthread_t thread;

	n->at_ns = monotonic_ns() + END_NS;
	n->ctl = ctl;
	if (pthread_create(&thread, NULL, end_main, n) == 0)
		pthread_detach(thread);
	else
		log_warn("a stop may take long: cannot make a thread");
}

static void end_is_written(struct ending *n)
{
	pthread_mutex_lock(&n->lock);
	n->ctl = NULL;
	pthread_mutex_unlock(&n->lock);
}

static bool pcapd_serve(const struct args *a, const struct config *c,
			int signals, struct err *e)
{
	/* Nobody waits for the thread that looks at it. */
	static struct ending ending = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct control *ctl = control_open(c, e);

	if (!ctl)
		return false;
	/* They got ready meanwhile. */
	struct server *s =
		bpf_compiler_ready(e) ? server_start(ctl, c, e) : NULL;
	if (s) {
		log_info("pcapd " PCAPD_VERSION ": spool %s, socket %s",
			 c->spool, c->socket);
		sd_notify(0, "READY=1");
		pcapd_run(a, ctl, s, signals);
		sd_notify(0, "STOPPING=1");
		end_in_time(&ending, ctl);
		control_end_waits(ctl);
		server_stop(s, GRACE_MS);
	}
	control_stop(ctl);
	end_is_written(&ending);
	control_close(ctl);
	return s != NULL;
}

/* A unit with PrivateTmp= has a /tmp and a /var/tmp of its own: what is put
 * there nobody else sees, and systemd removes it when pcapd stops. */
static bool private_tmp_check(const char *what, const char *path, struct err *e)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char root[4096], at[4096];
	bool found = false;

	while (f && !found &&
	       fscanf(f, "%*s %*s %*s %4095s %4095s%*[^\n]", root, at) == 2) {
		size_t n = strlen(at);

		found = strstr(root, "systemd-private-") &&
			strncmp(path, at, n) == 0 && path[n] == '/';
	}
	if (f)
		fclose(f);
	if (!found)
		return true;
	err_set(e, ERR_USAGE,
		"%s %s: the unit's %s is removed when pcapd stops", what, path,
		at);
	return err_hint(e, "Choose a folder elsewhere, see pcapd.conf(5).");
}

struct confinement {
	const struct config *config;
	const char *file;
};

/* A process that compiles filters. The file system is that of pcapd, since
 * names are looked up by it. */
static bool pcapd_confine(void *ctx, bool names, struct err *e)
{
	const struct confinement *c = ctx;

	return (names || sandbox_without_sockets(e)) &&
	       sandbox_enter(c->config, c->file, e);
}

static void say_line(void *ctx, const char *line)
{
	(void)ctx;
	puts(line);
}

static bool run_verb(const char *verb, const struct config *c, struct err *e)
{
	struct store_options o = {
		.spool = c->spool,
		.segment_bytes = c->segment_bytes,
		.compression_level = (int)c->compression_level,
	};
	struct store_findings f;
	uint64_t made;

	if (!sandbox_owner(c->spool, e))
		return false;
	if (strcmp(verb, "reindex") == 0) {
		if (!store_reindex(&o, say_line, NULL, &made, e))
			return false;
		printf("%" PRIu64 " segments have an index now\n", made);
		return true;
	}
	if (!(strcmp(verb, "check") == 0
		      ? store_check(c->spool, say_line, NULL, &f, e)
		      : store_repair(&o, say_line, NULL, &f, e)))
		return false;
	printf("%" PRIu64 " segments, %" PRIu64 " whole blocks, %" PRIu64
	       " damaged frames (%" PRIu64 " packets), %" PRIu64 " problems\n",
	       f.segments, f.blocks, f.damaged_frames, f.damaged_packets,
	       f.problems);
	return f.problems == 0 ||
	       err_set(e, ERR_INCOMPLETE, "spool %s is not as it should be",
		       c->spool);
}

int main(int argc, char **argv)
{
	struct args args = {0};
	struct config config;
	struct err e = ERR_INIT;
	int signals = -1;

	argp_err_exit_status = err_exit_code(ERR_USAGE);
	argp_parse(&parser, argc, argv, ARGP_IN_ORDER, NULL, &args);
	/* Packets, and what is known of them, are nobody else's; certificates
	 * are everybody's, and keys have a mode of their own. */
	umask(args.words ? 022 : 077);
	if (!pcapd_load(&args, &config, &e))
		goto fail;
	if (args.check_config)
		return 0;
	if (args.words) {
		if (!tls_admin(&config, args.n_words, args.words, &e) ||
		    !sandbox_give_key(&config, &e))
			goto fail;
		return 0;
	}
	if (args.verb) {
		if (!run_verb(args.verb, &config, &e))
			goto fail;
		return 0;
	}
	raise_limits();
	/* Before there are threads. */
	struct confinement confinement = {&config, config_file(&args)};
	if (!sandbox_user(&config, &e))
		goto fail;
	sandbox_tell();
	interface_configure(config.other_devices);
	if (!bpf_compiler_start(capture_compile, pcapd_confine, &confinement,
				&e) ||
	    !sandbox_enter(&config, confinement.file, &e))
		goto fail;
	signals = open_signals(&e);
	if (signals < 0)
		goto fail;
	keep_memory_low();
	gpr_set_log_function(grpc_said);
	grpc_init();
	bool ok = private_tmp_check("spool", config.spool, &e) &&
		  private_tmp_check("socket", config.socket, &e) &&
		  pcapd_serve(&args, &config, signals, &e);
	grpc_shutdown();
	close(signals);
	log_held(INT64_MAX);
	if (!ok)
		goto fail;
	return 0;
fail:
	log_err(LOG_LEVEL_ERROR, &e);
	return err_exit_code(e.kind);
}
