/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link: a connection to a pcapd, as a descriptor for gRPC. Private to
 * the client.
 */
#ifndef PCAPD_CLIENT_LINK_H
#define PCAPD_CLIENT_LINK_H

#include "client/client.h"

struct client_link;

/* *fd is the caller's. The errors are without the remote's label. */
struct client_link *client_link_open(const struct address *to, int *fd,
				     struct err *e);
/* The channel over fd is gone. */
void client_link_close(struct client_link *l);

#endif
