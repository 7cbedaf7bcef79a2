/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Settings by one table. Guarantees that a file or a value that is wrong in
 * any place changes nothing, and that the error names the place. Leaves out
 * what paths and groups are good for: who uses them finds out.
 */
#include "control/config.h"
#include "packet/bpf_filter.h"

#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { TEXT, COUNT, BYTES, SECONDS, FLAG, COMPRESSOR };

/* min and max are lengths for TEXT. */
static const struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	int64_t min, max;
} keys[] = {
	{"spool", TEXT, offsetof(struct config, spool), 1, CONFIG_PATH_MAX - 1},
	{"socket", TEXT, offsetof(struct config, socket), 1,
	 CONFIG_PATH_MAX - 1},
	{"socket-group", TEXT, offsetof(struct config, socket_group), 0, 63},
	{"user", TEXT, offsetof(struct config, user), 0, 63},
	{"sandbox", FLAG, offsetof(struct config, sandbox), 0, 1},
	{"net-admin", FLAG, offsetof(struct config, net_admin), 0, 1},
	{"other-devices", FLAG, offsetof(struct config, other_devices), 0, 1},
	{"viewer-group", TEXT, offsetof(struct config, viewer_group), 0, 63},
	{"listen", TEXT, offsetof(struct config, listen), 0,
	 CONFIG_PATH_MAX - 1},
	{"tls-dir", TEXT, offsetof(struct config, tls_dir), 1,
	 CONFIG_PATH_MAX - 1},
	{"tls-cert", TEXT, offsetof(struct config, tls_cert), 0,
	 CONFIG_PATH_MAX - 1},
	{"tls-key", TEXT, offsetof(struct config, tls_key), 0,
	 CONFIG_PATH_MAX - 1},
	{"tls-ca", TEXT, offsetof(struct config, tls_ca), 0,
	 CONFIG_PATH_MAX - 1},
	{"handshake-timeout", SECONDS,
	 offsetof(struct config, handshake_timeout_s), 1, 300},
	{"segment-bytes", BYTES, offsetof(struct config, segment_bytes),
	 64 << 10, 1ll << 40},
	{"segment-age", SECONDS, offsetof(struct config, segment_age_s), 1,
	 365 * 86400},
	{"block-age", SECONDS, offsetof(struct config, block_age_s), 1, 86400},
	{"sync-interval", SECONDS, offsetof(struct config, sync_interval_s), 1,
	 3600},
	{"spool-bytes", BYTES, offsetof(struct config, spool_bytes), 0,
	 1ll << 60},
	{"spool-imports", FLAG, offsetof(struct config, spool_imports), 0, 1},
	{"free-floor", BYTES, offsetof(struct config, free_floor), 0,
	 1ll << 60},
	{"keep-at-least", BYTES, offsetof(struct config, keep_at_least), 0,
	 1ll << 60},
	{"memory-blocks", COUNT, offsetof(struct config, memory_blocks), 2,
	 4096},
	{"compression-level", COUNT, offsetof(struct config, compression_level),
	 -20, 19},
	{"compressor", COMPRESSOR, offsetof(struct config, compressor), 0, 1},
	{"compressors", COUNT, offsetof(struct config, compressors), 0, 64},
	{"decoders", COUNT, offsetof(struct config, decoders), 0, 3},
	{"max-captures", COUNT, offsetof(struct config, max_captures), 1,
	 65536},
	{"max-connections", COUNT, offsetof(struct config, max_connections), 1,
	 65536},
	{"max-peer-connections", COUNT,
	 offsetof(struct config, max_peer_connections), 1, 65536},
	{"max-handshakes", COUNT, offsetof(struct config, max_handshakes), 1,
	 4096},
	{"max-replays", COUNT, offsetof(struct config, max_replays), 1, 4096},
	{"max-listeners", COUNT, offsetof(struct config, max_listeners), 1,
	 65536},
	{"request-timeout", SECONDS, offsetof(struct config, request_timeout_s),
	 1, 3600},
	{"send-timeout", SECONDS, offsetof(struct config, send_timeout_s), 1,
	 86400},
	{"max-calls", COUNT, offsetof(struct config, max_calls), 1, 65536},
	{"max-imports", COUNT, offsetof(struct config, max_imports), 1, 4096},
	{"max-streams", COUNT, offsetof(struct config, max_streams), 1, 65536},
	{"max-message", BYTES, offsetof(struct config, max_message), 64 << 10,
	 1 << 30},
	{"max-filter", BYTES, offsetof(struct config, max_filter), 16,
	 BPF_FILTER_TEXT_MAX},
	{"max-filter-program", COUNT,
	 offsetof(struct config, max_filter_program), 16, BPF_FILTER_INSNS_MAX},
	{"listener-queue", BYTES, offsetof(struct config, listener_queue),
	 BLOCK_MAX, 1ll << 32},
};

/* One is the capture's, one its writer's. */
static int64_t spare_cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN) - 2;

	return n < 0 ? 0 : n < 8 ? n : 8;
}

/* One is the reader's. */
static int64_t other_cpus(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return 0;
	int n = CPU_COUNT(&cpus) - 1;
	return n < 3 ? n : 3;
}

void config_defaults(struct config *c)
{
	*c = (struct config){
		.spool = "/var/lib/pcapd",
		.socket = "/run/pcapd/pcapd.sock",
		.socket_group = "pcap",
		.user = "pcapd",
		.sandbox = true,
		.tls_dir = "/etc/pcapd/tls",
		.handshake_timeout_s = 10,
		.segment_bytes = 256ull << 20,
		.segment_age_s = 3600,
		.block_age_s = 60,
		.sync_interval_s = 1,
		.spool_bytes = 0,
		.free_floor = 256ull << 20,
		.memory_blocks = 32,
		.compression_level = -1,
		.compressors = spare_cpus(),
		.decoders = other_cpus(),
		.max_captures = 256,
		.max_connections = 256,
		.max_peer_connections = 128,
		.max_handshakes = 64,
		.max_replays = 16,
		.max_listeners = 256,
		.request_timeout_s = 10,
		.send_timeout_s = 600,
		.max_calls = 64,
		.max_imports = 16,
		.max_streams = 512,
		.max_message = 4 << 20,
		.max_filter = BPF_FILTER_TEXT_MAX,
		.max_filter_program = BPF_FILTER_INSNS_MAX,
		.listener_queue = 32 << 20,
	};
}

void config_tls_path(const struct config *c, enum tls_file which,
		     char out[CONFIG_PATH_MAX + 16])
{
	static const char *const names[TLS_FILES] = {
		[TLS_CERT] = "server.crt", [TLS_KEY] = "server.key",
		[TLS_CA] = "ca.crt",	   [TLS_CA_KEY] = "ca.key",
		[TLS_ALLOW] = "allow",
	};
	const char *given = which == TLS_CERT  ? c->tls_cert
			    : which == TLS_KEY ? c->tls_key
			    : which == TLS_CA  ? c->tls_ca
					       : "";

	if (*given)
		snprintf(out, CONFIG_PATH_MAX + 16, "%s", given);
	else
		snprintf(out, CONFIG_PATH_MAX + 16, "%s/%s", c->tls_dir,
			 names[which]);
}

const char *config_key(size_t i)
{
	return i < sizeof(keys) / sizeof(keys[0]) ? keys[i].name : NULL;
}

/* What one more letter after the number multiplies with; 0: not a unit. */
static int64_t config_unit(enum kind kind, const char *letter)
{
	static const struct {
		enum kind kind;
		const char *letter;
		int64_t factor;
	} units[] = {
		{BYTES, "K", 1 << 10}, {BYTES, "M", 1 << 20},
		{BYTES, "G", 1 << 30}, {BYTES, "T", 1ll << 40},
		{SECONDS, "s", 1},     {SECONDS, "m", 60},
		{SECONDS, "h", 3600},  {SECONDS, "d", 86400},
	};

	if (!*letter)
		return 1;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (units[i].kind == kind && !strcmp(units[i].letter, letter))
			return units[i].factor;
	return 0;
}

static bool set_number(struct config *c, const struct key *k, const char *value,
		       struct err *e)
{
	static const char *const shapes[] = {
		[COUNT] = "a number",
		[BYTES] = "a number of bytes, as in 64K, 256M or 1G",
		[SECONDS] = "a number of seconds, as in 90, 15m, 1h or 7d",
	};
	char *end;
	int64_t n;

	errno = 0;
	n = strtoll(value, &end, 10);
	int64_t factor = config_unit(k->kind, end);
	if (end == value || !factor)
		return err_set(e, ERR_USAGE, "%s: expected %s, got '%.64s'",
			       k->name, shapes[k->kind], value);
	if (errno || __builtin_mul_overflow(n, factor, &n) || n < k->min ||
	    n > k->max)
		return err_set(e, ERR_USAGE,
			       "%s: %.64s is not in %" PRId64 " to %" PRId64,
			       k->name, value, k->min, k->max);
	/* Every number of struct config has 64 bits. */
	memcpy((char *)c + k->offset, &n, sizeof(n));
	return true;
}

static bool set_flag(struct config *c, const struct key *k, const char *value,
		     struct err *e)
{
	static const char *const words[] = {"off", "on", "no",	  "yes",
					    "0",   "1",	 "false", "true"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(value, words[i]) == 0) {
			*(uint64_t *)((char *)c + k->offset) = i % 2;
			return true;
		}
	return err_set(e, ERR_USAGE, "%s: expected on or off, got '%.64s'",
		       k->name, value);
}

static bool set_compressor(struct config *c, const char *value, struct err *e)
{
	if (strcmp(value, "zpack") == 0)
		c->compressor = COMPRESSOR_ZPACK;
	else if (strcmp(value, "zstd") == 0)
		c->compressor = COMPRESSOR_ZSTD;
	else
		return err_set(e, ERR_USAGE,
			       "compressor: expected zpack or zstd, got "
			       "'%.64s'",
			       value);
	return true;
}

/* What runs keeps these, whatever the file says; of the bounds on the spool
 * those that would remove something at once. */
static const char *const at_start[] = {
	"spool",	  "socket",
	"socket-group",	  "user",
	"sandbox",	  "net-admin",
	"other-devices",  "viewer-group",
	"listen",	  "tls-dir",
	"tls-cert",	  "tls-key",
	"tls-ca",	  "handshake-timeout",
	"memory-blocks",  "compressors",
	"max-handshakes", "spool-bytes",
	"spool-imports",  "free-floor",
	"keep-at-least",
};

static const struct key *config_find(const char *name)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

static bool config_same(const struct key *k, const struct config *a,
			const struct config *b)
{
	const char *at_a = (const char *)a + k->offset;
	const char *at_b = (const char *)b + k->offset;

	return k->kind == TEXT ? strcmp(at_a, at_b) == 0
			       : memcmp(at_a, at_b, sizeof(int64_t)) == 0;
}

bool config_waits(const struct config *running, const struct config *c,
		  char *out, size_t room)
{
	size_t at = 0;

	*out = 0;
	for (size_t i = 0; i < sizeof(at_start) / sizeof(*at_start); i++) {
		if (config_same(config_find(at_start[i]), running, c))
			continue;
		if (at < room)
			at += (size_t)snprintf(out + at, room - at, "%s%s",
					       at ? ", " : "", at_start[i]);
	}
	return at > 0;
}

bool config_set(struct config *c, const char *key, const char *value,
		struct err *e)
{
	const struct key *k = config_find(key);

	if (!k) {
		err_set(e, ERR_USAGE, "there is no setting '%.64s'", key);
		return err_hint(e, "pcapd.conf(5) lists the settings.");
	}
	if (k->kind == FLAG)
		return set_flag(c, k, value, e);
	if (k->kind == COMPRESSOR)
		return set_compressor(c, value, e);
	if (k->kind != TEXT)
		return set_number(c, k, value, e);
	size_t n = strlen(value);
	if ((int64_t)n < k->min || (int64_t)n > k->max)
		return err_set(e, ERR_USAGE,
			       "%s: expected %" PRId64 " to %" PRId64
			       " bytes, got %zu",
			       k->name, k->min, k->max, n);
	memcpy((char *)c + k->offset, value, n + 1);
	return true;
}

/* inih counts lines for itself only, and cuts long ones silently. */
struct config_reading {
	FILE *file;
	unsigned line;
	bool too_long;
	struct config config;
	struct err err;
	unsigned err_line;
};

static char *config_read_line(char *to, int n, void *ctx)
{
	struct config_reading *r = ctx;

	if (r->too_long || r->err_line || !fgets(to, n, r->file))
		return NULL;
	r->line++;
	size_t got = strlen(to);
	if (got + 1 == (size_t)n && to[got - 1] != '\n' && !feof(r->file)) {
		r->too_long = true;
		return NULL;
	}
	return to;
}

static int config_read_key(void *ctx, const char *section, const char *name,
			   const char *value)
{
	struct config_reading *r = ctx;

	(void)section;
	if (r->err_line || config_set(&r->config, name, value, &r->err))
		return 1;
	r->err_line = r->line;
	return 0;
}

bool config_read(struct config *c, const char *path, struct err *e)
{
	struct config_reading r = {.config = *c};

	r.file = fopen(path, "re");
	if (!r.file) {
		bool denied = errno == EACCES;

		err_errno(e, "read %s", path);
		return denied && err_hint(e,
					  "pcapd reads it as its own user: "
					  "'chmod 644 %s'.",
					  path);
	}
	ini_allow_multiline = false;
	ini_stop_on_first_error = true;
	ini_use_stack = false; /* its stack buffer has 200 bytes */
	ini_initial_alloc = ini_max_line = CONFIG_PATH_MAX + 64;
	int bad = ini_parse_stream(config_read_line, &r, config_read_key, &r);
	int failed = ferror(r.file) ? errno : 0;
	fclose(r.file);
	errno = failed;
	if (failed)
		return err_errno(e, "read %s", path);
	if (r.err_line) {
		*e = r.err;
		return err_wrap(e, "%s:%u", path, r.err_line);
	}
	if (r.too_long)
		return err_set(e, ERR_USAGE, "%s:%u: the line is too long",
			       path, r.line);
	if (bad > 0)
		return err_set(e, ERR_USAGE,
			       "%s:%d: expected 'key = value', '[section]' or "
			       "a comment",
			       path, bad);
	if (bad < 0)
		return err_set(e, ERR_FAILED, "read %s: out of memory", path);
	*c = r.config;
	return true;
}
