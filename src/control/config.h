/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config: what pcapd was told, from an ini file and the command line.
 *
 * What: one struct of settings with their defaults; every key of the file is
 * a row of one table, which is also what the manual page lists.
 * Threads: filled by one thread, then read only.
 * Ownership: plain memory.
 */
#ifndef PCAPD_CONTROL_CONFIG_H
#define PCAPD_CONTROL_CONFIG_H

#include "base/err.h"

#include <stdint.h>

#define CONFIG_PATH_MAX 512

enum config_compressor { COMPRESSOR_ZPACK, COMPRESSOR_ZSTD };

struct config {
	char spool[CONFIG_PATH_MAX];   /* /var/lib/pcapd */
	char socket[CONFIG_PATH_MAX];  /* /run/pcapd/pcapd.sock */
	char socket_group[64];	       /* pcap; "" leaves the group alone */
	char user[64];		       /* pcapd, if root starts it */
	char viewer_group[64];	       /* "": who may connect is an operator */
	char listen[CONFIG_PATH_MAX];  /* for TLS, "[host:]port ..."; "": not */
	char tls_dir[CONFIG_PATH_MAX]; /* /etc/pcapd/tls */
	char tls_cert[CONFIG_PATH_MAX]; /* "": server.crt of tls_dir */
	char tls_key[CONFIG_PATH_MAX];	/* "": server.key */
	char tls_ca[CONFIG_PATH_MAX];	/* "": ca.crt */
	uint64_t sandbox;		/* on */
	uint64_t net_admin;		/* CAP_NET_ADMIN is kept: off */
	uint64_t other_devices;		/* usbmon and the like: off */
	uint64_t handshake_timeout_s;	/* 10 */
	uint64_t segment_bytes;		/* of packets; 256 MiB */
	uint64_t segment_age_s;		/* 3600 */
	uint64_t block_age_s;		/* 60 */
	uint64_t sync_interval_s;	/* 1 */
	uint64_t spool_bytes;		/* of all segments; 0: no bound */
	uint64_t spool_imports;		/* imports count to that: off */
	uint64_t free_floor;		/* of bytes; 256 MiB */
	uint64_t keep_at_least;		/* of bytes */
	uint64_t memory_blocks;		/* waiting for the disk a capture: 32 */
	int64_t compression_level;	/* -1 */
	uint64_t compressor;		/* enum config_compressor; zpack */
	int64_t compressors;	  /* one for each CPU beyond 2, at most 8 */
	int64_t decoders;	  /* one for each CPU beyond 1, at most 3 */
	uint64_t max_captures;	  /* 256 */
	uint64_t max_connections; /* of others than root: 256 */
	uint64_t max_peer_connections; /* of one user or person: 128 */
	uint64_t max_handshakes;       /* under way at once: 64 */
	uint64_t max_replays;	       /* at once: 16 */
	uint64_t max_listeners;	       /* at once: 256 */
	uint64_t request_timeout_s;    /* until a call's request is there: 10 */
	uint64_t send_timeout_s;       /* until a message is taken: 600 */
	uint64_t max_calls;	       /* that wait for their answer: 64 */
	uint64_t max_imports;	       /* at once: 16 */
	uint64_t max_streams;	       /* at once, of one connection: 512 */
	uint64_t max_message;	       /* bytes of a message to pcapd; 4 MiB */
	uint64_t max_filter;	       /* bytes of its text: 8192 */
	uint64_t max_filter_program;   /* instructions: 4096 */
	uint64_t listener_queue;       /* bytes that wait for one; 32 MiB */
};

void config_defaults(struct config *c);

/*
 * Reads an ini file over what is in *c: [section] lines are for the reader,
 * keys are the members' names with '-' for '_'; bytes take K, M, G (powers of
 * 1024), seconds take s, m, h, d. An unknown key, a value out of range or a
 * line that is no key is ERR_USAGE with file and line, and *c is untouched.
 */
bool config_read(struct config *c, const char *path, struct err *e);

/* One setting from the command line, by the key's name. */
bool config_set(struct config *c, const char *key, const char *value,
		struct err *e);

/* The names of the settings in which c differs from what runs after it read c,
 * and which apply at the next start only; false: there are none. */
bool config_waits(const struct config *running, const struct config *c,
		  char *out, size_t room);

/* What TLS needs, and where it lies. */
enum tls_file { TLS_CERT, TLS_KEY, TLS_CA, TLS_CA_KEY, TLS_ALLOW, TLS_FILES };
void config_tls_path(const struct config *c, enum tls_file which,
		     char out[CONFIG_PATH_MAX + 16]);

/* The name of the i-th key, NULL after the last: what the manual must list. */
const char *config_key(size_t i);

#endif
