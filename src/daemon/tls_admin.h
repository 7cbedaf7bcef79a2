/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls_admin: pcapd tls init, issue, allow, list, revoke.
 *
 * What: certificates and the allow-list, for who administers a pcapd; a daemon
 * that runs sees the changes by itself.
 */
#ifndef PCAPD_DAEMON_TLS_ADMIN_H
#define PCAPD_DAEMON_TLS_ADMIN_H

#include "control/config.h"

/* argv[0] is "tls". Does not come back when the line is wrong. */
bool tls_admin(const struct config *c, int argc, char **argv, struct err *e);

#endif
