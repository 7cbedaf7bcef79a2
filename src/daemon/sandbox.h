/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox: what pcapd gives up before it talks to anybody.
 *
 * What: started as root it becomes its own user and keeps CAP_NET_RAW alone
 * (capabilities(7)); then nothing it runs can gain a privilege, files but its
 * own are out of reach (landlock(7)), it cannot connect anywhere over TCP, and
 * a system call that it has no use for ends it (seccomp(2)).
 * Threads: none may be there yet; those made later inherit it all.
 * Limits: what the kernel does not have is left out, and the log says so.
 */
#ifndef PCAPD_DAEMON_SANDBOX_H
#define PCAPD_DAEMON_SANDBOX_H

#include "control/config.h"

#define SANDBOX_USER "pcapd" /* who need not be there */

/*
 * Becomes config's user if this is root: gives it the spool, the socket's
 * folder (which is made if it is missing) and the server's key. Without that
 * user it stays root, with CAP_NET_RAW alone. ERR_USAGE: another user was
 * asked for and is not there.
 */
bool sandbox_user(const struct config *c, struct err *e);

/* The server's key to config's user, if this is root and that user is there. */
bool sandbox_give_key(const struct config *c, struct err *e);

/* As the owner of an existing spool, if this is root: what is repaired stays
 * that user's. */
bool sandbox_owner(const char *spool, struct err *e);

/* What is missing that captures need goes to the log. */
void sandbox_tell(void);

/* This process, which has no threads, can open no socket any more. */
bool sandbox_without_sockets(struct err *e);

/* The rest. config_file: NULL if there is none. */
bool sandbox_enter(const struct config *c, const char *config_file,
		   struct err *e);

#endif
