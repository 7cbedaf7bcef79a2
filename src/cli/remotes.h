/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * remotes: other machines with a pcapd, by name: remotes.conf, and URLs.
 */
#ifndef PCAPD_CLI_REMOTES_H
#define PCAPD_CLI_REMOTES_H

#include "client/client.h"

#define REMOTE_NAME_MAX 64
#define REMOTE_LETTERS                                                         \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

/* As it stands in the file; what is not given is empty. */
struct remote {
	char name[REMOTE_NAME_MAX + 1];
	char url[ADDRESS_TEXT_MAX];
	char bundle[ADDRESS_TEXT_MAX];
	char cert[ADDRESS_TEXT_MAX], key[ADDRESS_TEXT_MAX],
		ca[ADDRESS_TEXT_MAX];
};

/* tls://host[:port], ssh://[user@]host[:port], unix:///path. Fills what the URL
 * says and nothing else. */
bool url_parse(const char *url, struct address *to, struct err *e);
bool remote_name_check(const char *name, struct err *e);
/* With the remote's label and, for tls://, its files. */
bool remote_address(const struct remote *r, struct address *to, struct err *e);

/* $XDG_CONFIG_HOME/pcap/remotes.conf */
bool remotes_path(char out[ADDRESS_TEXT_MAX], struct err *e);
/* An array to free(). No file is no remotes. A line that is wrong is an error
 * with its number. */
bool remotes_read(const char *path, struct remote **all, size_t *n,
		  struct err *e);
/* ERR_EXISTS */
bool remotes_add(const char *path, const struct remote *r, struct err *e);
/* ERR_NOT_FOUND */
bool remotes_remove(const char *path, const char *name, struct err *e);

/* By its name, from the user's file. ERR_NOT_FOUND. */
bool remote_find(const char *name, struct remote *r, struct err *e);

#endif
